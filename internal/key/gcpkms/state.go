// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// state is that of a key version, with what Google's documentation says of it:
// https://cloud.google.com/kms/docs/key-states.
type state kmspb.CryptoKeyVersion_CryptoKeyVersionState

func stateNamed(name string) state {
	return state(kmspb.CryptoKeyVersion_CryptoKeyVersionState_value[name])
}

func (s state) pb() kmspb.CryptoKeyVersion_CryptoKeyVersionState {
	return kmspb.CryptoKeyVersion_CryptoKeyVersionState(s)
}

// gone reports that the key material is destroyed, here or where it was kept.
func (s state) gone() bool {
	switch s.pb() {
	case kmspb.CryptoKeyVersion_DESTROYED, kmspb.CryptoKeyVersion_PENDING_EXTERNAL_DESTRUCTION,
		kmspb.CryptoKeyVersion_EXTERNAL_DESTRUCTION_FAILED:
		return true
	}
	return false
}

func (s state) pending() bool {
	return s.pb() == kmspb.CryptoKeyVersion_PENDING_GENERATION || s.pb() == kmspb.CryptoKeyVersion_PENDING_IMPORT
}

// reason says why a version in this state does not sign and what mends it;
// empty if it signs. version may be nil.
func (s state) reason(version *kmspb.CryptoKeyVersion) string {
	switch s.pb() {
	case kmspb.CryptoKeyVersion_ENABLED:
		return ""
	case kmspb.CryptoKeyVersion_DISABLED:
		return "the key version is disabled; enable it by gcloud kms keys versions enable"
	case kmspb.CryptoKeyVersion_DESTROY_SCHEDULED:
		when := "soon"
		if at := version.GetDestroyTime(); at.IsValid() {
			when = "at " + at.AsTime().Format(time.RFC3339)
		}
		return "the key version will be destroyed " + when + "; gcloud kms keys versions restore brings it back, disabled"
	case kmspb.CryptoKeyVersion_PENDING_GENERATION:
		return "the key version is still being generated"
	case kmspb.CryptoKeyVersion_PENDING_IMPORT:
		return "the key version is still being imported"
	case kmspb.CryptoKeyVersion_IMPORT_FAILED:
		return "the import of the key version failed; gcloud kms keys versions describe says why"
	case kmspb.CryptoKeyVersion_GENERATION_FAILED:
		return "the generation of the key version failed; gcloud kms keys versions describe says why"
	}
	if s.gone() {
		return "the key version is destroyed"
	}
	return "the key version is in a state that this version of hsmsigner does not know (" + s.pb().String() + ")"
}

// protection maps Google's levels. Of a key manager outside Google nobody here
// can say what it is.
func protection(level kmspb.ProtectionLevel) key.Protection {
	switch level {
	case kmspb.ProtectionLevel_HSM, kmspb.ProtectionLevel_HSM_SINGLE_TENANT:
		return key.HSM
	case kmspb.ProtectionLevel_SOFTWARE:
		return key.Software
	}
	return key.Unknown
}
