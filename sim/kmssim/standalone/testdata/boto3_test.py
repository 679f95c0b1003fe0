"""Calls the simulated KMS with boto3, as programs in Python do."""
import json
import os

import boto3
from botocore.exceptions import ClientError

kms = boto3.client("kms", endpoint_url=os.environ["KMS_ENDPOINT"], verify=os.environ["KMS_CA"])


def refused(code, call, **kwargs):
    try:
        call(**kwargs)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        return e
    raise AssertionError(f"not refused with {code}")


key = kms.create_key(Description="from Python")["KeyMetadata"]
arn = key["Arn"]
kms.create_alias(AliasName="alias/python", TargetKeyId=key["KeyId"])
made = kms.generate_data_key(KeyId="alias/python", KeySpec="AES_256", EncryptionContext={"a": "1"})
assert len(made["Plaintext"]) == 32 and made["KeyId"] == arn
kms.rotate_key_on_demand(KeyId=arn)
opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "1"})
assert opened["Plaintext"] == made["Plaintext"] and opened["KeyId"] == arn
refused("InvalidCiphertextException", kms.decrypt, CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "2"})
refused("DryRunOperationException", kms.decrypt, CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "1"}, DryRun=True)
refused("NotFoundException", kms.describe_key, KeyId="alias/none")

other = kms.create_key()["KeyMetadata"]["Arn"]
moved = kms.re_encrypt(CiphertextBlob=made["CiphertextBlob"], SourceEncryptionContext={"a": "1"}, DestinationKeyId=other)
assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == made["Plaintext"]

# A policy that asks for an enclave closes Decrypt to everybody else.
policy = json.loads(kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"])
policy["Statement"].append({
    "Sid": "Attested", "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*",
    "Condition": {"Null": {"kms:RecipientAttestation:ImageSha384": "true"}},
})
kms.put_key_policy(KeyId=arn, PolicyName="default", Policy=json.dumps(policy))
e = refused("AccessDeniedException", kms.decrypt, CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "1"})
assert "explicit deny" in e.response["Error"]["Message"]
refused("ValidationException", kms.decrypt, CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "1"},
        Recipient={"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"no document"})

pair = kms.generate_data_key_pair_without_plaintext(KeyId=other, KeyPairSpec="ECC_NIST_P256")
assert pair["PublicKey"] and "PrivateKeyPlaintext" not in pair
agreement = kms.create_key(KeySpec="ECC_NIST_P384", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["Arn"]
peer = kms.create_key(KeySpec="ECC_NIST_P384", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["Arn"]
one = kms.derive_shared_secret(KeyId=agreement, KeyAgreementAlgorithm="ECDH", PublicKey=kms.get_public_key(KeyId=peer)["PublicKey"])
two = kms.derive_shared_secret(KeyId=peer, KeyAgreementAlgorithm="ECDH", PublicKey=kms.get_public_key(KeyId=agreement)["PublicKey"])
assert one["SharedSecret"] == two["SharedSecret"] and len(one["SharedSecret"]) == 48
assert len(kms.generate_random(NumberOfBytes=24)["Plaintext"]) == 24

kms.disable_key(KeyId=other)
refused("DisabledException", kms.encrypt, KeyId=other, Plaintext=b"x")
assert kms.describe_key(KeyId=other)["KeyMetadata"]["KeyState"] == "Disabled"
kms.schedule_key_deletion(KeyId=other, PendingWindowInDays=7)
refused("KMSInvalidStateException", kms.enable_key, KeyId=other)
assert sum(len(p["Keys"]) for p in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})) == 4
print("ok")
