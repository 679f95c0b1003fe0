package client_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/test/rig"
)

// jwt is a token with these claims and nothing true about it.
func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
}

// withToken answers a client whose context names a file with this content, and
// the file. Without content there is no file.
func withToken(t *testing.T, content *string) (*client.Client, string) {
	t.Helper()
	r := rig.New(t, rig.Config{})
	file := r.PolicyFile()
	policy, err := file.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	for name, b := range map[string][]byte{
		"policy.json": policy, "root.pem": r.Root.PEM(),
		"context.json": []byte(`{"version":1,"attested":"127.0.0.1:1","policy":"policy.json","trust_root":"root.pem","token_file":"token"}`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if content != nil {
		if err := os.WriteFile(path, []byte(*content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := client.Load(filepath.Join(dir, "context.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c, path
}

func TestBearer(t *testing.T) {
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	just := time.Now().Add(-10 * time.Second).Truncate(time.Second)
	for name, c := range map[string]struct {
		content string
		expires time.Time
	}{
		"good":                   {jwt(fmt.Sprintf(`{"exp":%d}`, soon.Unix())), soon},
		"with a line end":        {jwt(fmt.Sprintf(`{"exp":%d}`, soon.Unix())) + "\r\n", soon},
		"with a fraction":        {jwt(fmt.Sprintf(`{"exp":%d.5}`, soon.Unix())), soon},
		"just expired":           {jwt(fmt.Sprintf(`{"exp":%d}`, just.Unix())), just},
		"no end":                 {jwt(`{}`), time.Time{}},
		"an end that isn't one":  {jwt(`{"exp":"tomorrow"}`), time.Time{}},
		"an end before the time": {jwt(`{"exp":-5}`), time.Time{}},
		"an end beyond time":     {jwt(`{"exp":1e300}`), time.Time{}},
		"claims that aren't":     {jwt(`[`), time.Time{}},
		"not base64":             {"e30.a.x", time.Time{}},
		"opaque":                 {"0123456789abcdef", time.Time{}},
	} {
		cl, _ := withToken(t, &c.content)
		token, expires, err := cl.Bearer()
		if err != nil || token != strings.TrimSpace(c.content) || !expires.Equal(c.expires) {
			t.Errorf("%s: %t, %v, %v; want %v", name, token == strings.TrimSpace(c.content), expires, err, c.expires)
		}
	}
}

func TestNoBearer(t *testing.T) {
	const canary = "canary"
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		content *string
		says    string
		expired bool
	}{
		"expired":            {text(jwt(fmt.Sprintf(`{"exp":%d,"sub":%q}`, past.Unix(), canary))), "expired at " + past.UTC().Format(time.RFC3339), true},
		"no file":            {nil, "there is no token in", false},
		"empty":              {text("\n"), "holds no bearer token", false},
		"two lines":          {text(canary + "\n" + canary), "holds no bearer token", false},
		"a header in it":     {text(canary + "\r\nx: y"), "holds no bearer token", false},
		"not ASCII":          {text(canary + "é"), "holds no bearer token", false},
		"longer than tokens": {text(strings.Repeat(canary, 16<<10)), "holds no bearer token", false},
		"a large file":       {text(strings.Repeat(canary, 1<<20)), "larger than", false},
	} {
		cl, path := withToken(t, c.content)
		token, _, err := cl.Bearer()
		var refused *client.TokenError
		if token != "" || !errors.As(err, &refused) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q shows the token or has two lines", name, err)
		}
		if errors.Is(err, client.ErrUsage) == c.expired || refused.Expired.IsZero() == c.expired || c.expired && !refused.Expired.Equal(past) {
			t.Errorf("%s: expired %v", name, refused.Expired)
		}
		if c.content == nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the cause is lost", name)
		}
	}
}
