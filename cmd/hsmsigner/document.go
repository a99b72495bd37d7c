// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/document"
)

// maxBundle bounds what is read of a file that should be a bundle.
const maxBundle = 1 << 20 // bytes

func (a *app) documentCommand() *cobra.Command {
	return group("document", "Sign documents, and check signatures on them", a.documentSignCommand(), a.documentVerifyCommand())
}

// hashFile is the document in a file, without its name and media type.
func hashFile(path string) (document.Document, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return document.Document{}, notFound("there is no file %s", path)
	}
	if err != nil {
		return document.Document{}, err
	}
	defer file.Close()
	var d document.Document
	d.SHA256, d.Size, err = document.Hash(file, document.MaxSize)
	if err != nil {
		return d, fmt.Errorf("read %s: %w", path, err)
	}
	return d, nil
}

// addressFlag reads an address from a flag.
func addressFlag(cmd *cobra.Command, flag, text string) (common.Address, error) {
	if len(text) != 42 || !strings.HasPrefix(text, "0x") || !common.IsHexAddress(text) {
		return common.Address{}, &usageError{fmt.Errorf("--%s: want 0x and 40 hex digits", flag), cmd.CommandPath()}
	}
	return common.HexToAddress(text), nil
}

// logKey is the verifier key of an audit log: the text itself, or the first line
// of a file.
func logKey(cmd *cobra.Command, text string) (string, error) {
	const want = "want a verifier key as hsmsigner audit key shows it, or a file with it"
	if text == "" {
		return "", &usageError{errors.New("--key is missing: " + want), cmd.CommandPath()}
	}
	data, err := os.ReadFile(text)
	if err != nil && strings.Count(text, "+") >= 2 {
		return text, nil
	}
	if err != nil {
		return "", fmt.Errorf("--key: %w: %s", err, want)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line), nil
}
