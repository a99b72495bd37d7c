// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
)

// File is a place in the file system, best on storage that only lets bytes be
// added. Path gets one line of JSON for each checkpoint ({"at": …, "checkpoint":
// …}), synced before it counts as given; Path with Latest behind it is always the
// newest checkpoint as it was signed, replaced as a whole.
type File struct{ Path string }

// Latest stands behind the name of the file with the newest checkpoint.
const Latest = ".latest"

// line is what stands in the file for a checkpoint.
type line struct {
	At         time.Time `json:"at"`
	Checkpoint string    `json:"checkpoint"`
}

// Give adds a checkpoint. It signs nothing.
func (f File) Give(_ context.Context, _ Log, _ int64, c logbook.Checkpoint) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text) // ends with a new line
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line{time.Now().UTC().Truncate(time.Millisecond), string(c.Note)}); err != nil {
		return "", fmt.Errorf("witness: %w", err)
	}
	if err := appendTo(f.Path, text.Bytes()); err != nil {
		return "", fmt.Errorf("witness: %w", err)
	}
	if err := replace(f.Path+Latest, c.Note); err != nil {
		return "", fmt.Errorf("witness: %w", err)
	}
	return "", nil
}

// appendTo adds text and syncs it. A line that a crash has cut short is ended
// first, so that it spoils only itself.
func appendTo(path string, text []byte) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrPermission) { // storage that may be added to and not read
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if end, err := file.Seek(0, io.SeekEnd); err == nil && end > 0 {
		var last [1]byte
		if _, err := file.ReadAt(last[:], end-1); err == nil && last[0] != '\n' {
			text = append([]byte{'\n'}, text...)
		}
	}
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

// replace puts a file in the place of another at once.
func replace(path string, text []byte) (err error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary.Name())
		}
	}()
	_, err = temporary.Write(text)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// ReadFile returns the checkpoints that a file holds, in its order: one that a
// File has written, or one checkpoint as it was signed. Lines that are neither are
// passed over, and counted: a crash can leave one behind.
func ReadFile(r io.Reader) (signed []string, strange int, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("witness: %w", err)
	case len(text) > maxFile:
		return nil, 0, fmt.Errorf("witness: the file has more than %d bytes: want the last part of it", maxFile)
	}
	if first := bytes.TrimLeft(text, " \n"); len(first) > 0 && first[0] != '{' {
		return []string{string(text)}, 0, nil
	}
	for one := range bytes.Lines(text) {
		var l line
		switch one = bytes.TrimSpace(one); {
		case len(one) == 0:
		case json.Unmarshal(one, &l) != nil || l.Checkpoint == "":
			strange++
		default:
			signed = append(signed, l.Checkpoint)
		}
	}
	return signed, strange, nil
}

// maxFile bounds a file with checkpoints: some hundred thousand of them.
const maxFile = 256 << 20
