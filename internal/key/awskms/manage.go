// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// deletionDays is the waiting period of a deletion: the longest that KMS has.
const deletionDays = 30

// SetEnabled is EnableKey or DisableKey. Either takes a few seconds to reach
// every part of KMS.
func (b *Backend) SetEnabled(ctx context.Context, ref key.Ref, enabled bool) error {
	op := "disable key"
	if enabled {
		op = "enable key"
	}
	if err := b.checkRef(op, ref); err != nil {
		return err
	}
	_, err := read(ctx, b, op, ref, func(ctx context.Context) (struct{}, error) {
		var err error
		// KMS takes the ARN too, moto only the id; these three operations are for
		// keys of one's own account in any case.
		if id := aws.String(keyID(ref)); enabled {
			_, err = b.kms.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
		} else {
			_, err = b.kms.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id})
		}
		return struct{}{}, err
	})
	return err
}

// Delete schedules the deletion of a key in 30 days and returns when that will
// be. The key signs no more from now on; CancelKeyDeletion brings it back. The
// period of a multi-Region key with replicas begins only when those are gone:
// then the time is the earliest possible.
func (b *Backend) Delete(ctx context.Context, ref key.Ref) (time.Time, error) {
	const op = "schedule key deletion"
	if err := b.checkRef(op, ref); err != nil {
		return time.Time{}, err
	}
	out, err := read(ctx, b, op, ref, func(ctx context.Context) (*kms.ScheduleKeyDeletionOutput, error) {
		return b.kms.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{
			KeyId: aws.String(keyID(ref)), PendingWindowInDays: aws.Int32(deletionDays),
		})
	})
	if err != nil {
		return time.Time{}, err
	}
	if out.DeletionDate == nil {
		return time.Now().AddDate(0, 0, deletionDays), nil
	}
	return *out.DeletionDate, nil
}
