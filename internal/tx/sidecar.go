// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"crypto/sha256"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto/kzg4844"
)

// SidecarVersion says which proofs are computed for blobs whose caller gave
// none. Which one a node wants depends on its fork, which is not knowable from
// the arguments: version 0 before Osaka, version 1 (EIP-7594) from it on. geth
// converts version 0 by itself.
type SidecarVersion byte

// The versions of a sidecar.
const (
	SidecarAuto  SidecarVersion = 0 // blob proofs; the default
	SidecarCells SidecarVersion = 1 // 128 cell proofs per blob; takes about a second each
)

// CompleteSidecar computes commitments and proofs if the caller gave only
// blobs, verifies them if he gave them, and sets or checks the versioned
// hashes. It does nothing to a transaction without blobs. It takes
// milliseconds per blob. Every error is an *[ArgError].
func (a *Args) CompleteSidecar(version SidecarVersion) error {
	if a.Blobs == nil {
		return nil
	}
	if err := a.checkBlobs(); err != nil {
		return err
	}
	if a.Commitments == nil {
		if err := a.prove(version); err != nil {
			return err
		}
	} else if err := a.verifyProofs(); err != nil {
		return err
	}
	hasher := sha256.New()
	hashes := make([]common.Hash, len(a.Commitments))
	for i := range a.Commitments {
		hashes[i] = kzg4844.CalcBlobHashV1(hasher, &a.Commitments[i])
		if a.BlobHashes != nil && a.BlobHashes[i] != hashes[i] {
			return argErr("blobVersionedHashes", "number %d is %s, but the blob's is %s", i, a.BlobHashes[i], hashes[i])
		}
	}
	a.BlobHashes = hashes
	return nil
}

func (a *Args) prove(version SidecarVersion) error {
	commitments := make([]kzg4844.Commitment, len(a.Blobs))
	var proofs []kzg4844.Proof
	for i := range a.Blobs {
		blob := &a.Blobs[i]
		c, err := kzg4844.BlobToCommitment(blob)
		if err != nil {
			return argErr("blobs", "number %d is not a blob of field elements: %v", i, err)
		}
		commitments[i] = c
		if version == SidecarCells {
			cells, err := kzg4844.ComputeCellProofs(blob)
			if err != nil {
				return argErr("blobs", "number %d: %v", i, err)
			}
			proofs = append(proofs, cells...)
			continue
		}
		p, err := kzg4844.ComputeBlobProof(blob, c)
		if err != nil {
			return argErr("blobs", "number %d: %v", i, err)
		}
		proofs = append(proofs, p)
	}
	a.Commitments, a.Proofs = commitments, proofs
	return nil
}

func (a *Args) verifyProofs() error {
	if len(a.Proofs) != len(a.Blobs) {
		if err := kzg4844.VerifyCellProofs(a.Blobs, a.Commitments, a.Proofs); err != nil {
			return argErr("proofs", "the cell proofs do not fit the blobs: %v", err)
		}
		return nil
	}
	for i := range a.Blobs {
		if err := kzg4844.VerifyBlobProof(&a.Blobs[i], a.Commitments[i], a.Proofs[i]); err != nil {
			return argErr("proofs", "number %d does not fit its blob: %v", i, err)
		}
	}
	return nil
}

// sidecar returns the sidecar of completed arguments, nil without blobs.
func (a *Args) sidecar() *types.BlobTxSidecar {
	if a.Blobs == nil {
		return nil
	}
	version := types.BlobSidecarVersion0
	if len(a.Proofs) == len(a.Blobs)*kzg4844.CellProofsPerBlob {
		version = types.BlobSidecarVersion1
	}
	return types.NewBlobTxSidecar(version, a.Blobs, a.Commitments, a.Proofs)
}
