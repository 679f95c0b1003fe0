package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/internal/secret"
)

const canary = "canary-7f3a"

func TestNeverPrinted(t *testing.T) {
	s := secret.New([]byte(canary))
	holder := struct{ Key secret.Bytes }{s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{s, &s, holder} {
			got := fmt.Sprintf(verb, v)
			if strings.Contains(got, canary) || strings.Contains(got, fmt.Sprintf("%x", canary)) {
				t.Errorf("%s printed the secret: %s", verb, got)
			}
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("key", s))
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("key", s))
	if strings.Contains(log.String(), canary) {
		t.Errorf("slog printed the secret: %s", log.String())
	}
}

func TestNeverMarshalled(t *testing.T) {
	holder := struct{ Key secret.Bytes }{secret.New([]byte(canary))}
	if b, err := json.Marshal(holder); err == nil {
		t.Errorf("json.Marshal answered %s", b)
	}
	if b, err := cbor.Marshal(holder); err == nil {
		t.Errorf("cbor.Marshal answered %x", b)
	}
}

func TestEqualAndWipe(t *testing.T) {
	a, b := secret.New([]byte{1, 2}), secret.New([]byte{1, 2})
	if !a.Equal(b) || a.Equal(secret.New([]byte{1, 3})) || a.Equal(secret.New([]byte{1})) {
		t.Error("Equal is wrong")
	}
	if (secret.Bytes{}).Equal(secret.Bytes{}) {
		t.Error("two absent keys are equal")
	}
	held, twin := a.Expose(), a
	a.Wipe()
	if held[0] != 0 || held[1] != 0 || twin.Len() != 0 {
		t.Error("Wipe left key material behind")
	}
}
