package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/spf13/cobra"
)

// kmsPlace says where KMS is, and how it is trusted.
type kmsPlace struct {
	// region signs requests. endpoint is a URL, empty for AWS's of the region.
	region, endpoint string
	// ca is a PEM file of the endpoint's root, empty for the system's.
	ca string
}

// client makes a client with the credentials of a file.
func (p kmsPlace) client(cmd *cobra.Command, file string) (*kms.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if p.ca != "" {
		pem, err := readPolicyFile(cmd, p.ca)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &exitError{exitUsage, fmt.Errorf("%s: no certificate in it", p.ca)}
		}
	}
	raw, err := readPolicyFile(cmd, file)
	if err != nil {
		return nil, err
	}
	var keys struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
		Token  string `json:"session_token"`
	}
	if json.Unmarshal(raw, &keys) != nil || keys.ID == "" || keys.Secret == "" {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: not a credentials file", file)}
	}
	o := kms.Options{Region: p.region, Credentials: credentials.NewStaticCredentialsProvider(keys.ID, keys.Secret, keys.Token), HTTPClient: &http.Client{Transport: transport}}
	if p.endpoint != "" {
		o.BaseEndpoint = aws.String(p.endpoint)
	}
	return kms.New(o), nil
}
