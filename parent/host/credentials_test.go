package host_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/parent/host"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// secretCanary stands for a secret that no error and no log may hold.
const secretCanary = "canary-91c4"

func (w *world) credentials() (*cloisterv1.CredentialsResponse, error) {
	return w.client.Credentials(w.t.Context(), &cloisterv1.CredentialsRequest{})
}

func TestCredentials(t *testing.T) {
	w := newWorld(t, nil)
	expires := time.Date(2026, 5, 1, 12, 30, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		file string
		want *cloisterv1.CredentialsResponse
	}{
		"long lived": {
			`{"access_key_id":"AKIA1","secret_access_key":"s"}`,
			&cloisterv1.CredentialsResponse{AccessKeyId: "AKIA1", SecretAccessKey: "s"},
		},
		"short lived": {
			`{"access_key_id":"ASIA1","secret_access_key":"s","session_token":"t","expires":"2026-05-01T14:30:00+02:00"}` + "\n",
			&cloisterv1.CredentialsResponse{AccessKeyId: "ASIA1", SecretAccessKey: "s", SessionToken: "t", Expires: expires.Unix()},
		},
		"null means absent": {
			`{"access_key_id":"A","secret_access_key":"s","expires":null}`,
			&cloisterv1.CredentialsResponse{AccessKeyId: "A", SecretAccessKey: "s"},
		},
	} {
		w.write("credentials", []byte(tt.file))
		got, err := w.credentials()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.GetAccessKeyId() != tt.want.GetAccessKeyId() || got.GetSecretAccessKey() != tt.want.GetSecretAccessKey() ||
			got.GetSessionToken() != tt.want.GetSessionToken() || got.GetExpires() != tt.want.GetExpires() {
			t.Errorf("%s: the answer isn't what the file holds", name)
		}
	}
}

func TestCredentialsRefuses(t *testing.T) {
	w := newWorld(t, nil)
	check := func(name string) {
		t.Helper()
		_, err := w.credentials()
		if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), secretCanary) || strings.Contains(err.Error(), w.dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("missing")
	for name, file := range map[string]string{
		"empty":           "",
		"not JSON":        secretCanary,
		"half":            `{"access_key_id":"A","secret_access_key":"` + secretCanary,
		"two":             `{"access_key_id":"A","secret_access_key":"s"}{"` + secretCanary + `":1}`,
		"a brace more":    `{"access_key_id":"A","secret_access_key":"s"} }`,
		"array":           `["` + secretCanary + `"]`,
		"unknown field":   `{"access_key_id":"A","secret_access_key":"s","` + secretCanary + `":"x"}`,
		"a region":        `{"access_key_id":"A","secret_access_key":"s","region":"eu-central-1"}`,
		"an endpoint":     `{"access_key_id":"A","secret_access_key":"s","endpoint":"https://kms"}`,
		"no id":           `{"secret_access_key":"` + secretCanary + `"}`,
		"no secret":       `{"access_key_id":"` + secretCanary + `"}`,
		"a number":        `{"access_key_id":7,"secret_access_key":"` + secretCanary + `"}`,
		"not a time":      `{"access_key_id":"A","secret_access_key":"s","expires":"` + secretCanary + `"}`,
		"larger than can": `{"access_key_id":"A","secret_access_key":"` + strings.Repeat(secretCanary, 2000) + `"}`,
	} {
		w.write("credentials", []byte(file))
		check(name)
	}
	if err := os.Remove(w.file("credentials")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.file("credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	check("directory")
	if strings.Contains(w.log.String(), secretCanary) {
		t.Errorf("the log holds a secret:\n%s", w.log)
	}
}

// FuzzCredentials checks that what is served is a whole file that says so, and
// that nothing of a file that isn't served gets out.
func FuzzCredentials(f *testing.F) {
	f.Add(`{"access_key_id":"AKIA1","secret_access_key":"s","session_token":"t","expires":"2026-05-01T12:30:00Z"}`)
	f.Add(`{"access_key_id":"A","secret_access_key":"s"} x`)
	f.Add(`{"access_key_id":"A","secret_access_key":"s","access_key_id":""}`)
	f.Add(`null`)
	served := newWorld(f, nil)
	f.Fuzz(func(t *testing.T, file string) {
		w := *served
		w.t = t
		w.write("credentials", []byte(file))
		got, err := w.credentials()
		if err != nil {
			if want := "rpc error: code = Unavailable desc = the parent has no credentials"; err.Error() != want {
				t.Errorf("error %q", err)
			}
			return
		}
		var held host.Credentials
		if json.Unmarshal([]byte(file), &held) != nil {
			t.Fatal("something else than JSON is served")
		}
		if held.AccessKeyID == "" || held.AccessKeyID != got.GetAccessKeyId() || held.SecretAccessKey == "" || held.SecretAccessKey != got.GetSecretAccessKey() {
			t.Error("the answer isn't what the file holds")
		}
	})
}
