// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

func exported(t *testing.T, r *rig, from, to int64) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := r.book.Export(t.Context(), &file, from, to); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func verifyFile(t *testing.T, file []byte, k *Key, kept ...[]byte) Report {
	t.Helper()
	report, err := VerifyExport(t.Context(), bytes.NewReader(file), k.Verifier(), VerifyConfig{Kept: kept, Now: later()})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAnExportIsTheRecordsThemselvesAndVerifiesByItself(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir())
	r.fill(t, scaled(400, 200))
	c, err := r.book.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := exported(t, r, 0, 0)
	report := verifyFile(t, file, r.key, c.Note)
	wantOK(t, report)
	if report.Records != c.Size || report.Kept != 1 || report.Latest.Size != c.Size || report.Unanswered != 0 {
		t.Errorf("%+v", report)
	}
	// Its records are the log's leaves, byte by byte: anybody can make the tree.
	var hashes []tlog.Hash
	for line := range bytes.Lines(file) {
		if line = bytes.TrimSuffix(line, []byte("\n")); recordLine(line) {
			stored, err := tlog.StoredHashes(int64(len(leaves(hashes))), line, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
				all := make([]tlog.Hash, len(indexes))
				for i, n := range indexes {
					all[i] = hashes[n]
				}
				return all, nil
			}))
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, stored...)
		}
	}
	root, err := tlog.TreeHash(c.Size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		all := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			all[i] = hashes[n]
		}
		return all, nil
	}))
	if err != nil || root != c.Root {
		t.Errorf("root %v, want %v (%v)", root, c.Root, err)
	}
	for _, from := range []int64{1, 100, 257, c.Size - 1} {
		report := verifyFile(t, exported(t, r, from, 0), r.key, c.Note)
		wantOK(t, report)
		if report.Kept != 1 || report.Records < c.Size-from || report.Latest.Size != c.Size {
			t.Errorf("from %d: %+v", from, report)
		}
	}
}

func recordLine(line []byte) bool {
	for _, kind := range []string{"intent", "outcome", "event"} {
		if bytes.HasPrefix(line, []byte(`{"kind":"`+kind+`"`)) {
			return true
		}
	}
	return false
}

// leaves are the hashes of level 0.
func leaves(hashes []tlog.Hash) []tlog.Hash {
	var all []tlog.Hash
	for i, h := range hashes {
		if level, _ := tlog.SplitStoredHashIndex(int64(i)); level == 0 {
			all = append(all, h)
		}
	}
	return all
}

// exportAttack changes lines of a file; at has the place of each record's line, -1
// of others. It returns the place that must be named.
type exportAttack func(r *rand.Rand, lines []string, at []int64) ([]string, int64)

func pickLine(r *rand.Rand, at []int64, record bool) int {
	for {
		if i := 1 + r.IntN(len(at)-1); (at[i] >= 0) == record {
			return i
		}
	}
}

// nextPlace is the place of the first record at or after a line.
func nextPlace(at []int64, i int) int64 {
	for ; i < len(at); i++ {
		if at[i] >= 0 {
			return at[i]
		}
	}
	return -1
}

var exportAttacks = map[string]exportAttack{
	"flip a bit of a record": func(r *rand.Rand, lines []string, at []int64) ([]string, int64) {
		i := pickLine(r, at, true)
		lines[i] = flip(r, lines[i])
		return lines, at[i]
	},
	"delete a record": func(r *rand.Rand, lines []string, at []int64) ([]string, int64) {
		i := pickLine(r, at, true)
		return append(lines[:i:i], lines[i+1:]...), at[i]
	},
	"swap records": func(r *rand.Rand, lines []string, at []int64) ([]string, int64) {
		i, j := pickLine(r, at, true), pickLine(r, at, true)
		for i == j {
			j = pickLine(r, at, true)
		}
		lines[i], lines[j] = lines[j], lines[i]
		return lines, min(at[i], at[j])
	},
	"repeat a record": func(r *rand.Rand, lines []string, at []int64) ([]string, int64) {
		i := pickLine(r, at, true)
		return append(lines[:i+1:i+1], lines[i:]...), at[i] + 1
	},
	"flip a bit of a seal": func(r *rand.Rand, lines []string, at []int64) ([]string, int64) {
		i := pickLine(r, at, false)
		for !strings.HasPrefix(lines[i], `{"kind":"seal"`) {
			i = pickLine(r, at, false)
		}
		// Up to its paths, of which each is of one record.
		head, _, _ := strings.Cut(lines[i], `"paths"`)
		lines[i] = flip(r, head) + lines[i][len(head):]
		return lines, nextPlace(at, i)
	},
	"delete a seal": func(r *rand.Rand, lines []string, at []int64) ([]string, int64) {
		i := pickLine(r, at, false)
		for !strings.HasPrefix(lines[i], `{"kind":"seal"`) {
			i = pickLine(r, at, false)
		}
		return append(lines[:i:i], lines[i+1:]...), nextPlace(at, i)
	},
	"cut the end off": func(r *rand.Rand, lines []string, at []int64) ([]string, int64) {
		i := pickLine(r, at, true)
		return lines[:i], at[i]
	},
}

// differ is where the first line begins in which two texts are not the same.
func differ(a, b string) int {
	line := 0
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == '\n' {
			line = i + 1
		}
	}
	return line
}

func flip(r *rand.Rand, s string) string {
	b := []byte(s)
	b[r.IntN(len(b))] ^= 1 << r.IntN(7)
	return strings.ReplaceAll(string(b), "\n", "?")
}

func TestTheFirstBadRecordOfAnExportIsNamed(t *testing.T) {
	t.Parallel()
	trials := scaled(40, 2)
	if n, err := strconv.Atoi(os.Getenv("HSMSIGNER_AUDIT_TRIALS")); err == nil {
		trials = n / len(exportAttacks)
	}
	r := open(t, t.TempDir())
	r.fill(t, 150)
	c, err := r.book.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := string(exported(t, r, 0, 0))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, how := range exportAttacks {
		for n := range trials {
			lines := strings.Split(strings.TrimSuffix(file, "\n"), "\n")
			at, next := make([]int64, len(lines)), int64(0)
			for i, line := range lines {
				at[i] = -1
				if recordLine([]byte(line)) {
					at[i] = next
					next++
				}
			}
			altered, want := how(rand.New(rand.NewPCG(seed, uint64(n))), lines, at)
			text := strings.Join(altered, "\n") + "\n"
			if text == file {
				continue
			}
			report := verifyFile(t, []byte(text), r.key, c.Note)
			first, bad := report.First()
			if !bad || first.Index != want {
				t.Errorf("%s, trial %d: named %+v (%v), want place %d; the file is another from\n%.200s\non, which was\n%.200s", name, n, first, bad, want,
					text[differ(text, file):], file[differ(text, file):])
			}
		}
	}
}
