package sidecar_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/test/rig"
)

// TestSignIn goes through the ways in which stock clients show a password.
func TestSignIn(t *testing.T) {
	w := start(t, loopback{})
	password := string(w.password.Expose())
	basic := func(e *base64.Encoding, text string) string { return "Basic " + e.EncodeToString([]byte(text)) }
	for name, c := range map[string]struct {
		headers []string
		in      bool
	}{
		"nothing":                 {nil, false},
		"bearer":                  {[]string{"Bearer " + password}, true},
		"bearer in small":         {[]string{"bearer " + password}, true},
		"basic, padded":           {[]string{basic(base64.StdEncoding, "any:"+password)}, true},
		"basic, not padded":       {[]string{basic(base64.RawStdEncoding, "anybody:"+password)}, true},
		"basic, no user":          {[]string{basic(base64.StdEncoding, ":"+password)}, true},
		"wrong before right":      {[]string{"Bearer x", "Bearer " + password}, true},
		"another password":        {[]string{"Bearer " + password + "x"}, false},
		"an empty password":       {[]string{"Bearer "}, false},
		"basic, wrong":            {[]string{basic(base64.StdEncoding, "any:")}, false},
		"basic, password as user": {[]string{basic(base64.StdEncoding, password)}, false},
		"basic, not base64":       {[]string{"Basic " + password}, false},
		"another scheme":          {[]string{"Digest " + password}, false},
		"the analyst's own":       {[]string{"Bearer " + bearer}, false},
	} {
		before, dialled := w.service.calls.Load(), w.verified.Load()
		ctx := t.Context()
		for _, h := range c.headers {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", h)
		}
		_, err := w.client(t).Execute(ctx, "q")
		if c.in != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.in && (status.Code(err) != codes.Unauthenticated || w.service.calls.Load() != before || w.verified.Load() != dialled) {
			t.Errorf("%s: %v, and the enclave heard of it", name, err)
		}
	}
	if i := slices.IndexFunc(w.service.seen(), func(s string) bool { return s != "Bearer "+bearer }); i >= 0 {
		t.Errorf("the enclave was shown %q", w.service.seen()[i])
	}
}

// TestHandshake signs in as Flight has it, which the enclave can't answer.
func TestHandshake(t *testing.T) {
	w := start(t, loopback{})
	c := w.client(t)
	ctx, err := c.Client.AuthenticateBasicToken(t.Context(), "any", string(w.password.Expose()))
	if err != nil {
		t.Fatal(err)
	}
	if w.verified.Load() != 0 {
		t.Error("signing in went to the enclave")
	}
	if _, err := c.Execute(ctx, "q"); err != nil {
		t.Errorf("with the token of the handshake: %v", err)
	}
	_, err = c.Client.AuthenticateBasicToken(t.Context(), "any", "guess")
	if s := status.Convert(err); s.Code() != codes.Unauthenticated || !strings.Contains(s.Message(), "cloister connect") {
		t.Errorf("a wrong password: %v", err)
	}
}

// TestDatabaseSQL is arrow-go's own database/sql driver.
func TestDatabaseSQL(t *testing.T) {
	w := start(t, loopback{})
	db, err := sql.Open("flightsql", fmt.Sprintf("flightsql://any:%s@%s", w.password.Expose(), w.front))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() && n < 3*rowsEach {
		var v int64
		if err := rows.Scan(&v); err != nil || v != int64(n%rowsEach) {
			t.Fatalf("row %d: %d, %v", n, v, err)
		}
		n++
	}
	if n != 3*rowsEach {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
}

// TestRefused holds that the reason gets to the client word for word, and
// nothing to an enclave that isn't accepted.
func TestRefused(t *testing.T) {
	w := start(t, loopback{})
	w.boot(t, rig.New(t, rig.Config{Root: w.Root, Label: "another"}))
	c := w.client(t)
	for range 2 {
		_, err := c.Execute(w.in(t.Context()), "q")
		s := status.Convert(err)
		if s.Code() != codes.FailedPrecondition || !strings.HasPrefix(s.Message(), "attestation refused: policy mismatch: PCR0") {
			t.Errorf("%v", err)
		}
	}
	if w.service.calls.Load() != 0 || w.verified.Load() != 0 || w.refused.Load() != 2 {
		t.Errorf("%d calls, %d verified, %d refused", w.service.calls.Load(), w.verified.Load(), w.refused.Load())
	}
}

// TestKill ends the enclave while a client is connected: the next call that is
// answered has fresh evidence, from whoever is there then. A call whose body had
// gone to the dying connection may be told, once, to try again.
func TestKill(t *testing.T) {
	w := start(t, loopback{})
	c := w.client(t)
	call := func() error {
		_, err := c.Execute(w.in(t.Context()), "q")
		if s := status.Convert(err); s.Code() == codes.Unavailable && strings.Contains(s.Message(), "broke; try again") {
			_, err = c.Execute(w.in(t.Context()), "q")
		}
		return err
	}
	ok := func(verified int32) {
		t.Helper()
		if err := call(); err != nil || w.verified.Load() != verified {
			t.Errorf("%v, verified %d times, not %d", err, w.verified.Load(), verified)
		}
	}
	ok(1)
	ok(1)
	w.boot(t, w.Rig)
	ok(2)
	w.kill()
	err := call()
	if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "can't be reached") {
		t.Errorf("nobody there: %v", err)
	}
	w.boot(t, rig.New(t, rig.Config{Root: w.Root, Label: "another"}))
	if _, err := c.Execute(w.in(t.Context()), "q"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("another one there: %v", err)
	}
	w.boot(t, w.Rig)
	ok(3)
}

// TestToken holds that the token of the moment counts.
func TestToken(t *testing.T) {
	w := start(t, loopback{})
	c := w.client(t)
	for _, token := range []string{"one", "two"} {
		w.shows(token, nil)
		if _, err := c.Execute(w.in(t.Context()), "q"); err != nil {
			t.Fatal(err)
		}
	}
	w.shows("", &client.TokenError{Expired: time.Unix(1, 0)})
	before := w.service.calls.Load()
	if _, err := c.Execute(w.in(t.Context()), "q"); status.Code(err) != codes.Unauthenticated || w.service.calls.Load() != before {
		t.Errorf("without a token: %v", err)
	}
	if got := w.service.seen(); !slices.Equal(got, []string{"Bearer one", "Bearer two"}) {
		t.Errorf("the enclave was shown %q", got)
	}
}

// TestTwoClients has clients ask at once: all are answered, on one connection.
func TestTwoClients(t *testing.T) {
	w := start(t, loopback{})
	var running sync.WaitGroup
	for range 2 {
		c := w.client(t)
		for range 8 {
			running.Go(func() {
				if _, err := c.Execute(w.in(t.Context()), "q"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	running.Wait()
	if w.verified.Load() != 1 || w.service.calls.Load() != 16 {
		t.Errorf("%d connections for %d calls", w.verified.Load(), w.service.calls.Load())
	}
}

// TestLongStream reads a stream of 256 MiB to its end, header and trailer
// included.
func TestLongStream(t *testing.T) {
	w := start(t, loopback{})
	var header, trailer metadata.MD
	reader, err := w.client(t).DoGet(w.in(t.Context()), &flight.Ticket{}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	rows := int64(0)
	for reader.Next() {
		rows += reader.RecordBatch().NumRows()
	}
	if reader.Err() != nil || rows != records*rowsEach {
		t.Errorf("%d rows, %v", rows, reader.Err())
	}
	if !slices.Equal(header.Get("cloister-header"), []string{"first"}) || !slices.Equal(trailer.Get("cloister-trailer"), []string{"last"}) {
		t.Errorf("header %v, trailer %v", header, trailer)
	}
}

// TestSlowReader holds that nothing is buffered for a client that doesn't
// read, and that the enclave learns when it goes away.
func TestSlowReader(t *testing.T) {
	w := start(t, loopback{})
	w.service.cancelled = make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	reader, err := w.client(t).DoGet(w.in(ctx), &flight.Ticket{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	if !reader.Next() {
		t.Fatal(reader.Err())
	}
	for sent := int64(-1); sent != w.service.sent.Load(); {
		sent = w.service.sent.Load()
		time.Sleep(50 * time.Millisecond)
	}
	// Windows of both connections, and no more.
	if sent := w.service.sent.Load(); sent > records/4 {
		t.Errorf("%d of %d records went out to a client that doesn't read", sent, records)
	}
	cancel()
	if err := <-w.service.cancelled; status.Code(err) != codes.Canceled {
		t.Errorf("the enclave's stream ended with %v", err)
	}
}

// TestBrokenStream ends the enclave in the middle of an answer. Between two
// messages the client learns why; within one gRPC makes it Internal.
func TestBrokenStream(t *testing.T) {
	w := start(t, loopback{})
	reader, err := w.client(t).DoGet(w.in(t.Context()), &flight.Ticket{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	if !reader.Next() {
		t.Fatal(reader.Err())
	}
	w.kill()
	for reader.Next() {
	}
	switch err := reader.Err(); status.Code(err) {
	case codes.Internal:
	case codes.Unavailable:
		if !strings.Contains(err.Error(), "the connection to the enclave broke") {
			t.Errorf("half an answer ends with: %v", err)
		}
	default:
		t.Errorf("half an answer ends with: %v", err)
	}
}

// TestBothWays talks and listens in turn on one call.
func TestBothWays(t *testing.T) {
	w := start(t, loopback{})
	stream, err := w.client(t).Client.DoExchange(w.in(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		sent := &flight.FlightData{DataBody: []byte{byte(i)}}
		if err := stream.Send(sent); err != nil {
			t.Fatal(err)
		}
		if got, err := stream.Recv(); err != nil || !slices.Equal(got.GetDataBody(), sent.GetDataBody()) {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

// TestStatus holds that the enclave's own refusals pass as they are.
func TestStatus(t *testing.T) {
	w := start(t, loopback{})
	_, err := w.client(t).Client.GetSchema(w.in(t.Context()), &flight.FlightDescriptor{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}
}

// TestOthers is a browser, a scanner and a client of something else.
func TestOthers(t *testing.T) {
	w := start(t, loopback{})
	conn, err := net.Dial("tcp", w.front)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if b, _ := io.ReadAll(conn); strings.Contains(string(b), "200 OK") {
		t.Errorf("a browser got %q", b)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	c := http.Client{Transport: &http.Transport{Protocols: &protocols}}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.front+"/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+string(w.password.Expose()))
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
	if w.verified.Load() != 0 {
		t.Error("strangers reached the enclave")
	}
}

// TestNoPassword is a listener whose socket is the door.
func TestNoPassword(t *testing.T) {
	w := start(t, loopback{})
	l, err := w.net.listen()
	if err != nil {
		t.Fatal(err)
	}
	w.front = l.Addr().String()
	w.serve(t, l, secret.Bytes{})
	c := w.client(t)
	if _, err := c.Execute(t.Context(), "q"); err != nil {
		t.Error(err)
	}
	ctx, err := c.Client.AuthenticateBasicToken(t.Context(), "any", "any")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Execute(ctx, "q"); err != nil {
		t.Error(err)
	}
}
