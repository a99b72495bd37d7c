# SPDX-License-Identifier: Apache-2.0
"""moto's server, with three defects of its KMS mended.

moto 5.2.5 signs with real keys, but (1) ignores MessageType, so that a digest is
hashed a second time, (2) lets disabled keys and those pending deletion sign and
give their public key, (3) names a key in GetPublicKey by its id instead of its ARN
and leaves KeySpec out. What is done here instead is what the API reference of KMS
says of Sign and GetPublicKey, and its page on key states. The tests check that moto
still needs each of the three.
"""

import base64
import json
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.core.exceptions import JsonRESTError
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey
from moto.server import main

moto_response = KmsResponse.sign
moto_get_public_key = KmsResponse.get_public_key
moto_private_sign = ECDSAPrivateKey.sign


def check_state(key):
    if key.key_state == "Disabled":
        raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")
    if key.key_state == "PendingDeletion":
        raise JsonRESTError("KMSInvalidStateException", f"{key.arn} is pending deletion.")


class Digest(bytes):
    """A message that is a digest already."""


def private_sign(self, message, signing_algorithm):
    if not isinstance(message, Digest):
        return moto_private_sign(self, message, signing_algorithm)
    if signing_algorithm != "ECDSA_SHA_256" or len(message) != 32:
        raise JsonRESTError("ValidationException", f"Digest is invalid length for algorithm {signing_algorithm}.")
    return self.private_key.sign(bytes(message), ec.ECDSA(Prehashed(hashes.SHA256())))


def sign(self):
    if self._get_param("MessageType") != "DIGEST":
        return moto_response(self)
    key_id = self._get_param("KeyId")
    self._validate_key_id(key_id)
    check_state(self.kms_backend.describe_key(key_id))
    arn, signature, algorithm = self.kms_backend.sign(
        key_id=key_id, message=Digest(self._get_param("Message")), signing_algorithm=self._get_param("SigningAlgorithm")
    )
    return json.dumps(
        {"KeyId": arn, "Signature": base64.b64encode(signature).decode(), "SigningAlgorithm": algorithm}
    )


def get_public_key(self):
    key_id = self._get_param("KeyId")
    self._validate_key_id(key_id)
    key = self.kms_backend.describe_key(key_id)
    check_state(key)
    answer = json.loads(moto_get_public_key(self))
    answer["KeyId"] = key.arn
    answer["KeySpec"] = key.key_spec
    return json.dumps(answer)


if __name__ == "__main__":
    if "--as-it-is" in sys.argv:
        sys.argv.remove("--as-it-is")
    else:
        ECDSAPrivateKey.sign = private_sign
        KmsResponse.sign = sign
        KmsResponse.get_public_key = get_public_key
    main(sys.argv[1:])
