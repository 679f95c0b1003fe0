package server_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/limits"
)

// TestHandshake: whoever comes with a user and the token as the password gets a
// bearer header that is good from then on, as DBeaver's JDBC driver expects.
func TestHandshake(t *testing.T) {
	d := deploy(t, nil)
	_, c := d.client(t)
	token := strings.TrimPrefix(d.bearer(t), "Bearer ")
	ctx, err := c.Client.AuthenticateBasicToken(t.Context(), "anybody", token)
	if err != nil {
		t.Fatal(err)
	}
	if md, _ := metadata.FromOutgoingContext(ctx); !slices.Equal(md.Get("authorization"), []string{"Bearer " + token}) {
		t.Error("the header isn't the bearer token")
	}
	info, err := c.Execute(ctx, "SELECT COUNT(*) FROM colon")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rows(ctx, c, info); err != nil || !slices.Equal(got, []string{"60|"}) {
		t.Errorf("%v, %v", got, err)
	}
	for name, password := range map[string]string{"none": "", "another": "secret", "a long one": strings.Repeat("x", limits.Token+1)} {
		ctx, err := c.Client.AuthenticateBasicToken(t.Context(), "anybody", password)
		if md, _ := metadata.FromOutgoingContext(ctx); status.Code(err) != codes.Unauthenticated || len(md.Get("authorization")) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDoor: every method wants a token, and takes it in two forms.
func TestDoor(t *testing.T) {
	d := deploy(t, nil)
	token := strings.TrimPrefix(d.bearer(t), "Bearer ")
	basic := base64.StdEncoding.EncodeToString([]byte("u:" + token))
	_, c := d.client(t)
	for name, h := range map[string]struct {
		headers []string
		good    bool
	}{
		"bearer":            {[]string{"Bearer " + token}, true},
		"small letters":     {[]string{"bearer " + token}, true},
		"basic":             {[]string{"Basic " + basic}, true},
		"basic, no padding": {[]string{"basic " + strings.TrimRight(basic, "=")}, true},
		"none":              {nil, false},
		"two":               {[]string{"Bearer " + token, "Bearer " + token}, false},
		"no scheme":         {[]string{token}, false},
		"another scheme":    {[]string{"Digest " + token}, false},
		"basic as bearer":   {[]string{"Bearer " + basic}, false},
		"bearer as basic":   {[]string{"Basic " + token}, false},
		"no password":       {[]string{"Basic " + base64.StdEncoding.EncodeToString([]byte(token))}, false},
		"not base64":        {[]string{"Basic !"}, false},
	} {
		ctx := t.Context()
		for _, value := range h.headers {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
		}
		_, unary := c.Execute(ctx, "SELECT COUNT(*) FROM colon")
		_, stream := c.Prepare(ctx, "SELECT COUNT(*) FROM colon")
		lists, err := c.GetSqlInfo(ctx, nil)
		if err == nil {
			_, err = rows(ctx, c, lists)
		}
		for _, err := range []error{unary, stream, err} {
			if h.good && err != nil || !h.good && status.Code(err) != codes.Unauthenticated {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
