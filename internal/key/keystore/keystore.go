// SPDX-License-Identifier: Apache-2.0

// Package keystore is the key backend for a directory of Web3 Secret Storage
// version 3 files, as geth, ethers, web3.js and others write them: scrypt or
// PBKDF2, AES-128-CTR, Keccak-256 MAC.
//
// One bad file never spoils the others: what is wrong with a file is reported
// for that file. Files that come, change or go are noticed. A key is decrypted
// when it is first needed, or by a warm-up in the background that shows wrong
// passwords early; one file at a time, since each may take 256 MiB. Decrypted
// keys stay in memory until their file goes or the keystore is closed, and are
// then overwritten.
//
// It never gives out a private key, never writes to an existing file, and
// never puts a password or key into an error or a log.
//
// Keys here are protected by software only.
package keystore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// Config says where the files are and how they open.
type Config struct {
	// Path is the directory of the key files. It must exist.
	Path string
	// Password returns the password of every file that has no file of its own
	// beside it: <name>.password, whose content is the password but for one
	// newline at its end. Nil: there are only .password files. The function is
	// called again at every attempt and rescan, so it may re-read a file; it
	// must be safe for concurrent use. The slice is neither kept nor changed.
	Password func() ([]byte, error)
	// Logger receives what happens to the files. Nil: nothing is logged.
	Logger *slog.Logger
	// Scrypt is the cost of keys that Create makes. Zero: StandardScrypt.
	Scrypt ScryptParams
	// Rescan is how often the directory is read again even if the system
	// reported no change, as on network file systems. Zero: 10 s.
	Rescan time.Duration
	// PageSize is the number of files in one page of Keys. Zero: 500.
	PageSize int
	// Gate, with one slot, is held by the one derivation that may run: at the usual
	// cost it takes 256 MiB. Keystores of one process should share it; they take
	// turns. Nil: this one has its own.
	Gate chan struct{}
}

// Keystore is a directory of key files. It implements key.Backend and
// key.Creator. All methods are safe for concurrent use.
type Keystore struct {
	cfg     Config
	log     *slog.Logger
	ctx     context.Context // done at Close; the life of the goroutines below
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	once    sync.Once
	gate    chan struct{}   // Config.Gate
	rescans chan chan error // requests to read the directory now
	cold    chan struct{}   // wakes the warm-up
	changed chan struct{}
	macKey  [32]byte // of the password fingerprints; random

	mu       sync.RWMutex
	closed   bool
	entries  map[string]*entry // by file name
	names    []string          // of entries, sorted
	dirError error             // of the last reading of the directory
	dirWarn  string            // what is wrong with the directory, though usable
}

var (
	_ key.Backend = (*Keystore)(nil)
	_ key.Creator = (*Keystore)(nil)
)

var errClosed = fmt.Errorf("%w: keystore is closed", key.ErrUnavailable)

// Open reads the directory, decrypts nothing yet, and begins to watch it. The
// caller closes the keystore.
func Open(cfg Config) (*Keystore, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Scrypt == (ScryptParams{}) {
		cfg.Scrypt = StandardScrypt
	}
	if cfg.Rescan <= 0 {
		cfg.Rescan = 10 * time.Second
	}
	if cfg.PageSize <= 0 {
		cfg.PageSize = 500
	}
	if cfg.Gate == nil {
		cfg.Gate = make(chan struct{}, 1)
	}
	if err := cfg.Scrypt.check(); err != nil {
		return nil, fmt.Errorf("keystore: cost of new keys: %w", err)
	}
	if err := checkDir(cfg.Path); err != nil {
		return nil, err
	}
	ks := &Keystore{
		cfg:     cfg,
		log:     cfg.Logger,
		gate:    cfg.Gate,
		rescans: make(chan chan error),
		cold:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		entries: map[string]*entry{},
	}
	_, _ = rand.Read(ks.macKey[:]) // never fails (crypto/rand)
	ks.ctx, ks.cancel = context.WithCancel(context.Background())
	if err := ks.scan(); err != nil {
		ks.cancel()
		return nil, fmt.Errorf("keystore: directory %s: %w", cfg.Path, cause(err))
	}
	ks.wg.Go(ks.watch)
	ks.wg.Go(ks.warmUp)
	return ks, nil
}

func checkDir(path string) error {
	if path == "" {
		return errors.New("keystore: no path given; it must name the directory of the key files")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("keystore: directory %s does not exist: make it (mode 0700) and put version 3 key files into it, or correct the path: %w", path, fs.ErrNotExist)
	case err != nil:
		return fmt.Errorf("keystore: directory %s: %w", path, cause(err))
	case !info.IsDir():
		return fmt.Errorf("keystore: %s is a file; the path must name the directory of the key files", path)
	}
	return nil
}

// Changed delivers a value after something in the listing changed: a key came,
// went, turned out unusable or became usable. Changes while nobody receives
// are merged into one. The channel is for one receiver and is never closed.
func (ks *Keystore) Changed() <-chan struct{} { return ks.changed }

func (ks *Keystore) notify() {
	select {
	case ks.changed <- struct{}{}:
	default:
	}
}

// Health reports whether the directory could be read the last time it was
// tried, at most Config.Rescan ago.
func (ks *Keystore) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("keystore: health: %w", err)
	}
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	if ks.closed {
		return fmt.Errorf("keystore: health: %w", errClosed)
	}
	if ks.dirError != nil {
		return fmt.Errorf("keystore: health: %w: directory of the key files: %w", key.ErrUnavailable, cause(ks.dirError))
	}
	return nil
}

// Close stops watching, waits for a derivation under way (about a second at
// the usual cost) and overwrites all keys in memory. Calls under way and later
// ones return an error. Close may be called again.
func (ks *Keystore) Close() error {
	ks.once.Do(func() {
		ks.mu.Lock()
		ks.closed = true
		ks.mu.Unlock()
		ks.cancel()
		ks.wg.Wait()
		ks.mu.Lock()
		defer ks.mu.Unlock()
		for _, e := range ks.entries {
			e.discard()
		}
	})
	return nil
}

// cause strips the path from an error of package os: clients may see it.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
