// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
)

// code gives the return value of the module in err.
func code(err error) (pkcs11.Error, bool) {
	var c pkcs11.Error
	ok := errors.As(err, &c)
	return c, ok
}

// name is a return value as the module's manual has it.
func name(c pkcs11.Error) string {
	if uint(c) >= pkcs11.CKR_VENDOR_DEFINED {
		return fmt.Sprintf("the vendor's error %#x", uint(c))
	}
	var text string
	if _, err := fmt.Sscanf(c.Error(), "pkcs11: 0x%X: %s", new(uint), &text); err != nil || text == "" {
		return fmt.Sprintf("error %#x", uint(c))
	}
	return text
}

// cure says what may help after an error.
type cure int

const (
	nothing    cure = iota // the answer is definite
	newSession             // a new session, once
	newStart               // a new session, then C_Finalize and C_Initialize
)

// curable sorts what tokens answer when the session, the login, the handle or
// the connection is no longer what it was.
func curable(err error) cure {
	c, ok := code(err)
	if !ok {
		return nothing
	}
	switch uint(c) {
	case pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_OPERATION_ACTIVE,
		pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED,
		pkcs11.CKR_SLOT_ID_INVALID, pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_OBJECT_HANDLE_INVALID,
		pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED:
		return newStart
	case pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED, pkcs11.CKR_FUNCTION_CANCELED, pkcs11.CKR_HOST_MEMORY,
		pkcs11.CKR_DEVICE_MEMORY, pkcs11.CKR_OPERATION_NOT_INITIALIZED:
		return newSession
	}
	return nothing
}

// pinRefused reports whether a failed login must not be tried again with this
// PIN: unless the answer is about the connection, it is held to be about the PIN.
func pinRefused(err error) bool {
	_, ok := code(err)
	return ok && curable(err) == nothing
}

const pinAdvice = "; no further login is tried with this PIN, since a token locks after a few wrong ones: correct the PIN (or the file that holds it), or restart hsmsigner"

// loginFailure explains a C_Login that the token refused.
func loginFailure(c pkcs11.Error, cloudHSM bool) *wire.Failure {
	f := &wire.Failure{Kind: wire.Denied, PIN: true}
	switch uint(c) {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_ARGUMENTS_BAD:
		f.Why = "the token refused the PIN (" + name(c) + ")" + pinAdvice
		if cloudHSM {
			f.Why = "the cluster refused the crypto user or its password (" + name(c) + "): the PIN is the user's name, a colon and the password" + pinAdvice
		}
	case pkcs11.CKR_PIN_LEN_RANGE:
		f.Why = "the PIN is shorter or longer than the token allows (CKR_PIN_LEN_RANGE)" + pinAdvice
	case pkcs11.CKR_PIN_LOCKED:
		f.Why = "the token has locked the user PIN after too many wrong ones (CKR_PIN_LOCKED): its security officer must set a new one (C_InitPIN), then restart hsmsigner"
	case pkcs11.CKR_PIN_EXPIRED:
		f.Why = "the user PIN has expired (CKR_PIN_EXPIRED): set a new one with the vendor's tool, then correct the configuration"
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		f.Why = "the token has no user PIN yet (CKR_USER_PIN_NOT_INITIALIZED): its security officer must set one (C_InitPIN), then restart hsmsigner"
	default:
		f.Why = "the token refused the login (" + name(c) + ")" + pinAdvice
	}
	return f
}

// failure explains an error to the caller of a request.
func failure(what string, err error) *wire.Failure {
	var f *wire.Failure
	if errors.As(err, &f) {
		return f
	}
	c, ok := code(err)
	if !ok {
		return &wire.Failure{Kind: wire.Unavailable, Why: what + ": " + err.Error()}
	}
	kind, why := wire.Unavailable, "the module answered "+name(c)
	switch uint(c) {
	case pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, pkcs11.CKR_KEY_TYPE_INCONSISTENT:
		kind, why = wire.Disabled, "the token does not let this key sign ("+name(c)+"): CKA_SIGN must be true on the private key object"
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_FUNCTION_NOT_SUPPORTED:
		kind, why = wire.Denied, "the token does not do this ("+name(c)+"): it must offer CKM_ECDSA to sign, CKM_EC_KEY_PAIR_GEN to make a key; a strict FIPS mode may have switched secp256k1 off"
	case pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_DOMAIN_PARAMS_INVALID, pkcs11.CKR_KEY_SIZE_RANGE:
		kind, why = wire.Denied, "the token does not know the curve secp256k1 ("+name(c)+"); a strict FIPS mode may have switched it off"
	case pkcs11.CKR_TOKEN_WRITE_PROTECTED, pkcs11.CKR_SESSION_READ_ONLY, pkcs11.CKR_ACTION_PROHIBITED:
		kind, why = wire.Denied, "the token or this user may not write objects ("+name(c)+")"
	case pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID,
		pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, pkcs11.CKR_ATTRIBUTE_READ_ONLY:
		kind, why = wire.Denied, "the token's policy does not allow such a key object ("+name(c)+")"
	case pkcs11.CKR_DATA_LEN_RANGE, pkcs11.CKR_DATA_INVALID:
		kind, why = wire.BadResponse, "the module does not take a digest of 32 bytes for CKM_ECDSA ("+name(c)+")"
	case pkcs11.CKR_SESSION_COUNT:
		why = "the token has no free session (CKR_SESSION_COUNT): lower the number of sessions here or in other programs that use the token"
	case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_RECOGNIZED:
		why = "the token is not there (" + name(c) + "): plug it in, or bring the HSM back"
	case pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED:
		why = "the device reported an error (" + name(c) + "); the vendor's log says more"
	case pkcs11.CKR_DEVICE_MEMORY:
		why = "the token has no room left (CKR_DEVICE_MEMORY)"
	case pkcs11.CKR_USER_NOT_LOGGED_IN:
		why = "the token forgot the login, and logging in again did not help (CKR_USER_NOT_LOGGED_IN)"
	}
	return &wire.Failure{Kind: kind, Why: what + ": " + why}
}
