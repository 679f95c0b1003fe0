package kms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// attempts is how often a call is made at most, and attemptTimeout how long
	// one may take, its document included. KMS takes a document for five
	// minutes; every attempt has its own, and all of them end well before that.
	attempts       = 4
	attemptTimeout = 15 * time.Second
	// firstPause is the longest pause before the second attempt. It doubles.
	firstPause = 200 * time.Millisecond
)

// reply is what the two operations have in common.
type reply struct {
	keyID              string
	plaintext, message []byte
}

// sender makes one call to KMS for a recipient.
type sender func(context.Context, *types.RecipientInfo) (reply, error)

// call makes an operation, unless KMS was found away by the calls before.
func (c *Client) call(ctx context.Context, operation, arn string, send sender) (secret.Bytes, error) {
	if arn == "" {
		return secret.Bytes{}, fmt.Errorf("kms: %s: %w: no key is named", operation, ErrRefused)
	}
	if err := c.breaker.enter(); err != nil {
		return secret.Bytes{}, fmt.Errorf("kms: %s: %w", operation, err)
	}
	key, err := c.repeat(ctx, arn, send)
	c.breaker.leave(err, ctx.Err() != nil)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("kms: %s: %w", operation, err)
	}
	return key, nil
}

// repeat makes attempts until one has an answer, ctx ends, or there were enough.
func (c *Client) repeat(ctx context.Context, arn string, send sender) (secret.Bytes, error) {
	for attempt, pause := 1, firstPause; ; attempt, pause = attempt+1, 2*pause {
		key, err := c.attempt(ctx, arn, send)
		switch {
		case err == nil:
			return key, nil
		case ctx.Err() != nil:
			return secret.Bytes{}, ctx.Err()
		case attempt == attempts || !errors.Is(err, ErrUnavailable):
			return secret.Bytes{}, err
		}
		select {
		case <-ctx.Done():
			return secret.Bytes{}, ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2)): // so that enclaves don't all come back at once
		}
	}
}

// attempt makes one call with a document of its own and opens its answer.
func (c *Client) attempt(ctx context.Context, arn string, send sender) (secret.Bytes, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	document, err := c.attest(ctx, c.recipient.PublicKey())
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("%w: no attestation document: %w", ErrUnavailable, err)
	}
	if len(document) == 0 || len(document) > limits.Document {
		return secret.Bytes{}, fmt.Errorf("%w: the attestation document is empty or too long", ErrUnavailable)
	}
	r, err := send(ctx, &types.RecipientInfo{
		AttestationDocument: document, KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256,
	})
	if err != nil {
		err = classify(err)
		if badCredentials(err) {
			c.credentials.forget()
		}
		return secret.Bytes{}, err
	}
	return c.open(arn, r)
}

// open holds an answer against what was asked and opens the message in it. A
// key that came in clear is wiped, whatever else the answer says.
func (c *Client) open(arn string, r reply) (secret.Bytes, error) {
	defer clear(r.plaintext)
	switch {
	case len(r.plaintext) > 0:
		return secret.Bytes{}, fmt.Errorf("%w: it holds the key in clear", ErrAnswer)
	case r.keyID != arn:
		return secret.Bytes{}, fmt.Errorf("%w: it names another KMS key", ErrAnswer)
	}
	key, err := c.recipient.Open(r.message, keySize)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return key, nil
}
