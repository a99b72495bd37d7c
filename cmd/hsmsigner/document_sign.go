// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
	"github.com/hsmsigner/hsmsigner/internal/document"
)

// documentSigning are the flags of document sign.
type documentSigning struct {
	*app
	remote                           remoteFlags
	consortium, environment, service string
	account, name, media, bundle     string
	key                              string
	upload                           bool
}

func (a *app) documentSignCommand() *cobra.Command {
	s := &documentSigning{app: a}
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Have an account of a service sign a document",
		Long: `Has an account of a service sign a document, by the management API of a
daemon, and writes the bundle that proves it. What is signed is a manifest that
names the document by its SHA-256, twice: as a JWS (ES256K) and as a personal
message (EIP-191).

The document stays here, and only its hash is sent, unless --upload says that
the daemon is to hash it itself. What comes back is checked before it is written.`,
		Example: "  hsmsigner document sign --service pay --account 0x… contract.pdf\n" +
			"  hsmsigner document verify --key audit.key --address 0x… contract.pdf contract.pdf.signature.json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args[0]) },
	}
	s.remote.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&s.consortium, "consortium", "", "`name` or id; not needed if the key sees one only")
	flags.StringVar(&s.environment, "environment", "", "`name` or id; not needed if the consortium has one only")
	flags.StringVar(&s.service, "service", "", "`name` or id; not needed if there is one only")
	flags.StringVar(&s.account, "account", "", "the `address` that signs")
	flags.StringVar(&s.name, "name", "", "what the document is called in what is signed; default the file's `name`")
	flags.StringVar(&s.media, "media-type", "", "the document's `type/subtype`; default by the file's name")
	flags.StringVar(&s.bundle, "bundle", "", "the `file` to write, or - for standard output; default FILE.signature.json")
	flags.StringVar(&s.key, "key", "", "check the proof by this `key` of the audit log, or a file with it")
	flags.BoolVar(&s.upload, "upload", false, "send the document itself, to be hashed by the daemon")
	return cmd
}

func (s *documentSigning) run(cmd *cobra.Command, path string) error {
	account, err := addressFlag(cmd, "account", s.account)
	if err != nil {
		return err
	}
	out := s.bundle
	if out == "" {
		out = path + ".signature.json"
	}
	if _, err := os.Lstat(out); out != "-" && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: name another file by --bundle", out)
	}
	d, err := s.document(path)
	if err != nil {
		return err
	}
	bundle, err := s.sign(cmd, path, account, d)
	if err != nil {
		return told(err)
	}
	if err := s.check(cmd, bundle, account, d); err != nil {
		return err
	}
	if out == "-" {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", bundle)
		return err
	}
	if err := os.WriteFile(out, append(bundle, '\n'), 0o644); err != nil { //nolint:gosec // it is for everybody
		return err
	}
	return s.print(cmd, map[string]string{"bundle": out}, func(w io.Writer) { fmt.Fprintf(w, "signed by %s: %s\n", account, out) })
}

// document is what is to be signed, as it is here.
func (s *documentSigning) document(path string) (document.Document, error) {
	d, err := hashFile(path)
	if err != nil {
		return d, err
	}
	d.Name, d.MediaType = s.name, s.media
	if d.Name == "" {
		d.Name = filepath.Base(path)
	}
	if d.MediaType == "" {
		if d.MediaType, err = document.MediaType(mime.TypeByExtension(filepath.Ext(path))); err != nil {
			d.MediaType = document.Unknown
		}
	}
	return d, d.Check()
}

func (s *documentSigning) sign(cmd *cobra.Command, path string, account common.Address, d document.Document) (json.RawMessage, error) {
	c, err := s.remote.open(cmd)
	if err != nil {
		return nil, err
	}
	ctx, at, kind := cmd.Context(), &remote{client: c}, kindCalled("service")
	if err := at.enter(ctx, kind, s.consortium, s.environment); err != nil {
		return nil, err
	}
	service, err := at.find(ctx, kind, s.service)
	if err != nil {
		return nil, err
	}
	wanted := client.NewSignature{
		Account: account.Hex(), SHA256: fmt.Sprintf("%x", d.SHA256), Size: d.Size, Name: d.Name, MediaType: d.MediaType,
	}
	if s.upload {
		return sendFile(ctx, c.In(at.consortium, at.environment), service, wanted, path)
	}
	return c.In(at.consortium, at.environment).SignDocument(ctx, service, wanted)
}

func sendFile(ctx context.Context, in client.Place, service string, wanted client.NewSignature, path string) (json.RawMessage, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return in.SignDocumentFrom(ctx, service, wanted, file)
}

// check refuses what does not prove what was asked for. Without the log's key the
// proof that it is on record is left to whoever has it.
func (s *documentSigning) check(cmd *cobra.Command, bundle []byte, account common.Address, d document.Document) error {
	against := document.Against{Signer: &account, Document: &d}
	if s.key != "" {
		var err error
		if against.LogKey, err = logKey(cmd, s.key); err != nil {
			return err
		}
	}
	report := document.Verify(bundle, against)
	for _, f := range report.Findings {
		if f.Result == document.Fails && (s.key != "" || f.Part != document.PartCheckpoint) {
			return fmt.Errorf("what came back proves nothing, and was not written: %s: %s", f.Part, f.Why)
		}
	}
	if m := report.Manifest; m == nil || m.Document != d {
		return errors.New("what came back names another document, and was not written")
	}
	return nil
}
