// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Tiles as in C2SP's tlog-tiles: 256 hashes of a level, of which each stands for
// 256 of the level below.
const (
	tileBits  = 8
	tileWidth = 1 << tileBits
)

// node is a hash of the tree. bad says that it is not known what it should be.
type node struct {
	hash tlog.Hash
	bad  bool
}

func join(left, right node) node {
	if left.bad || right.bad {
		return node{bad: true}
	}
	return node{hash: tlog.NodeHash(left.hash, right.hash)}
}

// tree is the right edge of a Merkle tree (RFC 6962, section 2.1), which is all
// that is needed to append to it.
type tree struct {
	size  int64
	peaks []node   // of the perfect trees that it consists of, the largest first
	tiles [][]node // by level: the last tile, as far as it goes; never full
	// full, if set, is told each tile that has become full.
	full func(level int, number int64, hashes []node)
}

func (t *tree) clone() *tree {
	c := &tree{size: t.size, peaks: slices.Clone(t.peaks), tiles: make([][]node, len(t.tiles))}
	for i, tile := range t.tiles {
		c.tiles[i] = append(make([]node, 0, tileWidth), tile...)
	}
	return c
}

// add appends a leaf.
func (t *tree) add(leaf node) {
	t.put(0, leaf)
	t.peaks = append(t.peaks, leaf)
	level := 0
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.peaks) - 1
		t.peaks[last-1] = join(t.peaks[last-1], t.peaks[last])
		t.peaks = t.peaks[:last]
		if level++; level%tileBits == 0 {
			t.put(level/tileBits, t.peaks[last-1])
		}
	}
	t.size++
}

// put appends a hash to the last tile of a level.
func (t *tree) put(level int, n node) {
	for len(t.tiles) <= level {
		t.tiles = append(t.tiles, make([]node, 0, tileWidth))
	}
	t.tiles[level] = append(t.tiles[level], n)
	if len(t.tiles[level]) == tileWidth {
		if t.full != nil {
			t.full(level, t.size>>(tileBits*(level+1)), t.tiles[level])
		}
		t.tiles[level] = t.tiles[level][:0]
	}
}

// root is the hash of the whole tree.
func (t *tree) root() node {
	if len(t.peaks) == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return node{hash: h}
	}
	root := t.peaks[len(t.peaks)-1]
	for i := len(t.peaks) - 2; i >= 0; i-- {
		root = join(t.peaks[i], root)
	}
	return root
}

// partial is the number of the last tile of a level in a tree of that size, and
// how many hashes are in it.
func partial(size int64, level int) (number int64, width int) {
	return size >> (tileBits * (level + 1)), int(size>>(tileBits*level)) & (tileWidth - 1)
}

// levels is how many levels of tiles a tree of that size has.
func levels(size int64) int {
	return (bits.Len64(uint64(size)) + tileBits - 1) / tileBits
}

// fromTiles makes a tree from its last tiles, by level.
func fromTiles(size int64, tiles [][]tlog.Hash) *tree {
	t := &tree{size: size}
	for _, hashes := range tiles {
		tile := make([]node, len(hashes), tileWidth)
		for i, h := range hashes {
			tile[i] = node{hash: h}
		}
		t.tiles = append(t.tiles, tile)
	}
	for level := len(t.tiles) - 1; level >= 0; level-- {
		rest := t.tiles[level]
		for bit := tileBits - 1; bit >= 0; bit-- {
			if n := 1 << bit; len(t.tiles[level])&n != 0 {
				t.peaks = append(t.peaks, perfect(rest[:n]))
				rest = rest[n:]
			}
		}
	}
	return t
}

// perfect is the root over a power of two of hashes.
func perfect(hashes []node) node {
	if len(hashes) == 1 {
		return hashes[0]
	}
	n := len(hashes) / 2
	return join(perfect(hashes[:n]), perfect(hashes[n:]))
}
