package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/eif"
)

// signFlags say who signs: a key in a file, or one in KMS.
type signFlags struct {
	cert, key string
	// kmsKey is an ARN; the others say how KMS is reached.
	kmsKey, kmsCredentials, kmsEndpoint, kmsCA string
}

// add adds the flags of a signer.
func (s *signFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.cert, "sign-cert", "", "the signer's certificate, PEM")
	cmd.Flags().StringVar(&s.key, "sign-key", "", "the signer's ECDSA key, PEM, in a file of mode 0600")
	cmd.Flags().StringVar(&s.kmsKey, "kms-key", "", "the ARN of the signer's key in KMS, in place of --sign-key")
	cmd.Flags().StringVar(&s.kmsCredentials, "kms-credentials", "", "file with {\"access_key_id\", \"secret_access_key\", \"session_token\"} for --kms-key")
	cmd.Flags().StringVar(&s.kmsEndpoint, "kms-endpoint", "", "KMS's URL (default: AWS's in the key's region)")
	cmd.Flags().StringVar(&s.kmsCA, "kms-ca", "", "PEM file of the endpoint's root (default: the system's)")
}

// check holds that a certificate comes with one key, and a key with it.
func (s *signFlags) check() error {
	switch {
	case s.key != "" && s.kmsKey != "":
		return &exitError{exitUsage, errors.New("one of --sign-key and --kms-key")}
	case s.cert == "" && (s.key != "" || s.kmsKey != ""):
		return &exitError{exitUsage, errors.New("a signer's key needs its certificate, --sign-cert")}
	case s.cert != "" && s.key == "" && s.kmsKey == "":
		return &exitError{exitUsage, errors.New("a signer's certificate needs its key, --sign-key or --kms-key")}
	case s.kmsKey == "" && (s.kmsCredentials != "" || s.kmsEndpoint != "" || s.kmsCA != ""):
		return &exitError{exitUsage, errors.New("--kms-credentials, --kms-endpoint and --kms-ca go with --kms-key")}
	}
	return nil
}

func eifSignCommand() *cobra.Command {
	var sign signFlags
	var out string
	cmd := &cobra.Command{
		Use:   "sign FILE --sign-cert PEM (--sign-key PEM | --kms-key ARN) -o FILE",
		Short: "Sign an image, in place of any signature that it has",
		Example: `  cloister eif sign cloister.eif --sign-cert release.pem --sign-key release.key -o signed.eif
  cloister eif sign cloister.eif --sign-cert release.pem --kms-key arn:aws:kms:eu-central-1:111122223333:key/KEY --kms-credentials release.json -o signed.eif`,
		Args: usage(cobra.ExactArgs(1)),
	}
	sign.add(cmd)
	cmd.Flags().StringVarP(&out, "out", "o", "", "the image to write, never over an existing file")
	for _, need := range []string{"sign-cert", "out"} {
		_ = cmd.MarkFlagRequired(need)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := sign.check(); err != nil {
			return err
		}
		f, m, err := openImage(args[0])
		if err != nil {
			return refusedFile(err)
		}
		defer f.Close()
		return refusedFile(writeImage(cmd, out, m.Resign, sign))
	}
	return cmd
}

// signature signs the PCR0 of an image file.
func (s signFlags) signature(cmd *cobra.Command, path string) ([]byte, error) {
	certificate, err := os.ReadFile(s.cert)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	key, err := s.signer(cmd)
	if err != nil {
		return nil, err
	}
	f, m, err := openImage(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	measured, err := m.Measure(cmd.Context(), nil)
	if err != nil {
		return nil, err
	}
	return eif.Sign(measured.PCR0, certificate, key)
}

// signer answers the key that signs.
func (s signFlags) signer(cmd *cobra.Command) (crypto.Signer, error) {
	if s.kmsKey != "" {
		return openKMSKey(cmd, s.kmsKey, s.kmsEndpoint, s.kmsCA, s.kmsCredentials)
	}
	key, err := readImageKey(s.key)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return key, nil
}

// readImageKey reads an ECDSA key in PKCS #8 or SEC 1.
func readImageKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file", path)
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: not a private key in PKCS #8 or SEC 1", path)
	}
	return signer, nil
}
