// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

// demoTarget receives the demo's transfer.
const demoTarget = "0x000000000000000000000000000000000000dEaD"

func (a *app) demoCommand() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all at work: a chain, the daemon, a transaction",
		Long: `Starts a development chain and the daemon with a freshly made account, sends one
transfer through the RPC door, shows its receipt, and then says how to send
more, and where the console is. Small transfers go on, so that it has something
to show. Ctrl-C stops everything. Nothing outlives the demo unless --dir is given.

It wants the program devnet beside hsmsigner: make build makes both.`,
		Example: `  hsmsigner demo
  hsmsigner demo --once
  hsmsigner demo --dir ./demo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.out = cmd.OutOrStdout()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&d.once, "once", false, "end after the first transaction")
	cmd.Flags().StringVar(&d.dir, "dir", "", "keep everything in this `folder`, which must not hold a demo yet")
	cmd.Flags().StringVar(&d.devnet, "devnet", "", "the devnet `program`; by default the one beside hsmsigner")
	return cmd
}

// demo is one run of the demo.
type demo struct {
	out    io.Writer
	once   bool
	dir    string
	devnet string

	temporary       bool // dir goes at the end
	account         common.Address
	chain           uint64
	node, rpc, http string // host:port of the chain, the RPC door and the admin listener
	key             string // the API key that opens the console
}

func (d *demo) run(ctx context.Context) error {
	devnet, err := d.findDevnet()
	if err != nil {
		return err
	}
	cleanup, err := d.makeDir()
	if err != nil {
		return fmt.Errorf("demo folder: %w", err)
	}
	defer cleanup()
	if err := d.choosePorts(ctx); err != nil {
		return err
	}
	d.say("making a keystore wallet with a new account")
	if err := d.makeWallet(); err != nil {
		return err
	}

	d.say("starting the development chain on %s", d.node)
	chain, err := startChild(filepath.Join(d.dir, "devnet.log"), devnet, "--http", d.node, "--period", "1s", "--fund", d.account.Hex())
	if err != nil {
		return fmt.Errorf("devnet: %w", err)
	}
	// The daemon goes first, so that it never sees its node disappear.
	defer chain.stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		<-chain.ended
		cancel(fmt.Errorf("devnet has ended by itself: see %s", chain.log))
	}()
	if d.chain, err = waitForChain(ctx, "http://"+d.node); err != nil {
		return d.explain(ctx, fmt.Errorf("devnet does not answer: %w", err))
	}
	if err := d.writeConfig(); err != nil {
		return err
	}

	if d.key, err = d.makeKey(ctx); err != nil {
		return fmt.Errorf("key of the console: %w", err)
	}
	d.say("starting the daemon on %s", d.rpc)
	stop, err := d.startDaemon(ctx, cancel)
	if err != nil {
		return err
	}
	err = d.show(ctx)
	if stopped := stop(); err == nil {
		err = stopped
	}
	return d.explain(ctx, err)
}

// show is what the user came for.
func (d *demo) show(ctx context.Context) error {
	if err := waitReady(ctx, "http://"+d.http+"/readyz"); err != nil {
		return fmt.Errorf("the daemon does not get ready: %w", err)
	}
	d.say("sending 1 ether with eth_sendTransaction")
	receipt, err := sendAndWait(ctx, "http://"+d.rpc, d.account.Hex(), demoTarget)
	if err != nil {
		return err
	}
	d.say("mined in block %d: %s, %d gas\n  %s", uint64(receipt.Block), receipt.outcome(), uint64(receipt.GasUsed), receipt.Hash)
	d.banner()
	if d.once {
		return nil
	}
	d.traffic(ctx)
	<-ctx.Done()
	fmt.Fprintln(d.out)
	return nil
}

// What the demo sends while somebody looks at it.
const (
	trafficEvery = 1500 * time.Millisecond
	trafficMost  = 20_000 // some eight hours
)

// traffic sends small transfers until ctx ends, so that the console has something
// to show. What fails is for the console to show, too.
func (d *demo) traffic(ctx context.Context) {
	tick := time.NewTicker(trafficEvery)
	defer tick.Stop()
	for range trafficMost {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		value := (1 + mathrand.Uint64N(20)) * 1e15 // 0.001 to 0.02 ether
		var hash string
		_ = call(ctx, "http://"+d.rpc, &hash, "eth_sendTransaction", map[string]string{
			"from": d.account.Hex(), "to": demoTarget, "value": hexutil.EncodeUint64(value),
		})
	}
}

// makeKey makes the API key for the console, as hsmsigner admin bootstrap does.
func (d *demo) makeKey(ctx context.Context) (string, error) {
	c, _, err := config.Load(filepath.Join(d.dir, "config.yaml"))
	if err != nil {
		return "", err
	}
	db, err := recordDatabase(ctx, c, io.Discard)
	if err != nil {
		return "", err
	}
	key, err := rootKey(ctx, c, db, "demo", false)
	return key.Key, errors.Join(err, db.Close())
}

// startDaemon runs the daemon beside this goroutine. The function it returns
// stops the daemon and says what came of it.
func (d *demo) startDaemon(ctx context.Context, cancel context.CancelCauseFunc) (stop func() error, err error) {
	c, _, err := config.Load(filepath.Join(d.dir, "config.yaml"))
	if err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(filepath.Join(d.dir, "hsmsigner.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	daemonCtx, stopDaemon := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		err := serve(daemonCtx, c, newLogger(c.Log, logFile))
		if daemonCtx.Err() == nil {
			cancel(fmt.Errorf("the daemon has ended by itself: %w", err))
		}
		done <- err
	}()
	return func() error {
		d.say("stopping the daemon and the chain")
		stopDaemon()
		err := <-done
		_ = logFile.Close()
		return err
	}, nil
}

// explain prefers the reason why ctx ended to what followed from it. That the
// user pressed Ctrl-C is no error.
func (d *demo) explain(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, context.Canceled):
		return nil
	}
	return cause
}

func (d *demo) findDevnet() (string, error) {
	path := d.devnet
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		path = filepath.Join(filepath.Dir(self), "devnet")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the demo needs the devnet program, and there is none at %s: make build makes it, or name it with --devnet", path)
	}
	return path, nil
}

// makeDir makes the folder of the demo. A folder that the demo chose is removed
// at the end.
func (d *demo) makeDir() (cleanup func(), err error) {
	if d.dir == "" {
		d.temporary = true
		d.dir, err = os.MkdirTemp("", "hsmsigner-demo-")
		return func() { _ = os.RemoveAll(d.dir) }, err
	}
	if _, err := os.Stat(filepath.Join(d.dir, "config.yaml")); err == nil {
		return nil, fmt.Errorf("%s holds a demo already: remove it, or name another", d.dir)
	}
	return func() {}, os.MkdirAll(d.dir, 0o700)
}

// choosePorts takes the usual ports where they are free, and others where not.
func (d *demo) choosePorts(ctx context.Context) error {
	for _, p := range []struct {
		what  string
		usual string
		to    *string
	}{
		{"the RPC door", config.DefaultListen, &d.rpc},
		{"the chain", "127.0.0.1:8546", &d.node},
		{"metrics and health", config.DefaultAdminListen, &d.http},
	} {
		address, err := freeAddress(ctx, p.usual)
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		if address != p.usual {
			d.say("%s is taken: using %s for %s", p.usual, address, p.what)
		}
		*p.to = address
	}
	return nil
}

// makeWallet makes a keystore with one account under a random password.
func (d *demo) makeWallet() (err error) {
	password := rand.Text()
	if err := writePrivate(filepath.Join(d.dir, "password"), password+"\n"); err != nil {
		return err
	}
	// The light cost keeps the demo brisk; its key is worth nothing.
	_, d.account, err = keystore.Create(filepath.Join(d.dir, "keys"), []byte(password), keystore.LightScrypt)
	return err
}

// writeConfig is called once the chain has told its id.
func (d *demo) writeConfig() error {
	return writePrivate(filepath.Join(d.dir, "config.yaml"), fmt.Sprintf(`data: ./data
rpc: {listen: "%s", auth: none}
admin: {listen: "%s"}
default_wallet: demo
wallets:
  - name: demo
    node: {url: "http://%s", chain_id: %d, poll: 200ms}
    details: {provider: keystore, path: ./keys, user_secret: {file: ./password}}
`, d.rpc, d.http, d.node, d.chain))
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}
