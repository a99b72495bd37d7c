// SPDX-License-Identifier: Apache-2.0

package gcpkms

// The limits of Cloud KMS for one project and region, in calls a second, as
// https://cloud.google.com/kms/quotas has them. Two buckets: what lists and
// describes, and what uses a key. GetPublicKey uses a key, so it takes from the
// bucket of the signatures (cryptographic requests: asymmetricSign,
// getPublicKey, …).
const (
	// ReadPerSecond: read_usage, 600 a minute and region since 2026-02-16 (read_requests,
	// 300 a minute, before). Soft for HSM keys: calls above it are answered as
	// long as the service has room.
	ReadPerSecond = 10

	// SignPerSecond: hsm_asymmetric_requests, 3,000 a minute and region until
	// 2026-02-16, enforced by the second. Since then hsm_usage counts tokens and
	// its limit follows what the project used before, so a project may well be
	// allowed more; it too is soft. The console shows the project's own figure.
	SignPerSecond = 50
)

const (
	// SharedQuota says whether listing and signing take from one bucket.
	SharedQuota = false

	defaultConcurrency = 16  // of calls for one page
	keysPerPage        = 100 // each costs a read: ten seconds at the documented quota
	versionsPerPage    = 1000
	maxVersionPages    = 1000 // of one key; a list that never ends is broken
)
