package bounds_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/test/exposition"
)

// door is a listener of the deployment.
type door func(ctx context.Context) (net.Conn, error)

// doors are all that speak gRPC.
func (w *world) doors() map[string]door {
	w.t.Helper()
	c, err := client.New(w.config)
	must(w.t, err)
	return map[string]door{
		"gateway": func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", w.status.Gateway)
		},
		"intake":   w.vsock(vsock.HostCID, vsock.EnclaveCID, vsock.PortIngest),
		"host":     w.vsock(vsock.EnclaveCID, vsock.HostCID, vsock.PortHost),
		"attested": func(ctx context.Context) (net.Conn, error) { conn, _, err := c.Dial(ctx); return conn, err },
	}
}

// vsock dials a port of one machine from another one.
func (w *world) vsock(from, to, port uint32) door {
	return func(ctx context.Context) (net.Conn, error) {
		return vsock.Unix(w.layout.Sockets(), from).Dial(ctx, to, port)
	}
}

// preface is how a client begins (RFC 9113, 3.4): a fixed text and its settings,
// none.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// frame answers the type and payload of the next HTTP/2 frame.
func frame(r io.Reader) (byte, []byte, error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err := io.ReadFull(r, payload)
	return head[3], payload, err
}

// settings answers what a server announces to whoever connects.
func (w *world) settings(dial door) (map[uint16]uint32, error) {
	conn, err := dial(w.t.Context())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	must(w.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	if _, err := io.WriteString(conn, preface); err != nil {
		return nil, err
	}
	kind, payload, err := frame(conn)
	if err != nil {
		return nil, err
	}
	if kind != 4 {
		return nil, fmt.Errorf("a frame of type %d comes first", kind)
	}
	found := map[uint16]uint32{}
	for ; len(payload) >= 6; payload = payload[6:] {
		found[binary.BigEndian.Uint16(payload)] = binary.BigEndian.Uint32(payload[2:])
	}
	return found, nil
}

// TestDoors tries what strangers may do at each door.
func TestDoors(t *testing.T) {
	w := up(t)
	t.Run("streams", func(t *testing.T) {
		for name, dial := range w.doors() {
			announced, err := w.settings(dial)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			const maxStreams, maxHeaders = 3, 6 // RFC 9113, 6.5.2
			if n := announced[maxStreams]; n != limits.Streams {
				t.Errorf("%s: %d streams, want %d", name, n, limits.Streams)
			}
			if n := announced[maxHeaders]; n == 0 || n > 2*limits.Token {
				t.Errorf("%s: headers of %d bytes", name, n)
			}
		}
	})
	t.Run("other machines", w.strangers)
	t.Run("connections", func(t *testing.T) {
		w.connections(t, "intake", limits.IntakeConnections)
		w.connections(t, "host", limits.HostConnections)
	})
	t.Run("announced", w.announced)
	t.Run("silent", w.silent)
	t.Run("flood", w.flood)
	t.Run("admin", w.admin)
	if got := w.submit(w.seal(1, good(), nil)); got != receipted {
		t.Errorf("a good batch after all of them: %s", got)
	}
}

// strangers: on a shared machine every process and every enclave can reach the
// ports, and none but the right one is heard.
func (w *world) strangers(t *testing.T) {
	for name, dial := range map[string]door{
		"another enclave at the host":    w.vsock(vsock.EnclaveCID+1, vsock.HostCID, vsock.PortHost),
		"another enclave at the intake":  w.vsock(vsock.EnclaveCID+1, vsock.EnclaveCID, vsock.PortIngest),
		"another enclave at attested":    w.vsock(vsock.EnclaveCID+1, vsock.EnclaveCID, vsock.PortAttested),
		"the enclave itself at attested": w.vsock(vsock.EnclaveCID, vsock.EnclaveCID, vsock.PortAttested),
	} {
		if _, err := w.settings(dial); err == nil {
			t.Errorf("%s is heard", name)
		}
	}
}

// connections holds as many as may be held, and demands that one more is closed
// and that a place that becomes free is given again.
func (w *world) connections(t *testing.T, name string, most int) {
	t.Helper()
	dial := w.doors()[name]
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for {
		c, err := dial(t.Context())
		must(t, err)
		_, err = io.WriteString(c, preface)
		if err == nil {
			_, _, err = frame(c)
		}
		if err != nil {
			c.Close()
			break
		}
		if held = append(held, c); len(held) > most {
			t.Fatalf("%s: %d connections are held", name, len(held))
		}
	}
	// The deployment has one or two of its own.
	if len(held) < most-2 {
		t.Errorf("%s: only %d connections are held", name, len(held))
	}
	held[0].Close()
	held = held[1:]
	for range 500 {
		if _, err := w.settings(dial); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: no place becomes free", name)
}

// literal is a header field that isn't in any table (RFC 7541, 6.2.2).
func literal(name, value string) string {
	return "\x00" + string(rune(len(name))) + name + string(rune(len(value))) + value
}

// announced opens many submissions, each of which says that its message has
// 16 MiB and sends none of them.
func (w *world) announced(t *testing.T) {
	conn, err := w.doors()["gateway"](t.Context())
	must(t, err)
	defer conn.Close()
	block := literal(":method", "POST") + literal(":scheme", "http") + literal(":path", cloisterv1.Gateway_Submit_FullMethodName) +
		literal(":authority", "x") + literal("content-type", "application/grpc") + literal("te", "trailers")
	var hostile strings.Builder
	hostile.WriteString(preface)
	add := func(kind, flags byte, stream int, payload string) {
		head := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, byte(stream)}
		hostile.Write(head)
		hostile.WriteString(payload)
	}
	for i := range limits.GatewayReceiving {
		add(1, 4, 2*i+1, block) // HEADERS, END_HEADERS
		add(0, 0, 2*i+1, "\x00"+string([]byte{0, 0xff, 0xff, 0xff}))
	}
	memory := allocated(func() {
		_, err = io.WriteString(conn, hostile.String())
		must(t, err)
		w.eventually(t, "all to be received", func() bool {
			return w.gauge(t, "cloister_admission_inside", "pool", "gateway_receiving") == limits.GatewayReceiving
		})
	})
	if memory > 64<<20 {
		t.Errorf("%d bytes were allocated for messages of %d that didn't come", memory, limits.GatewayReceiving*(16<<20))
	}
	// There is no room for another one, which may come again.
	if got := w.submit(w.seal(1, good(), nil)); got != "RESOURCE_EXHAUSTED for now" {
		t.Errorf("one more: %s", got)
	}
	conn.Close()
	w.eventually(t, "the places to be free", func() bool {
		return w.gauge(t, "cloister_admission_inside", "pool", "gateway_receiving") == 0
	})
}

// silent opens more requests than there are places and says nothing in them:
// each listener refuses with a hint, and serves others again when they end.
func (w *world) silent(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		most   int
	}{
		"gateway": {healthv1.Health_Check_FullMethodName, limits.GatewayProbes},
		"intake":  {cloisterv1.Intake_Accept_FullMethodName, limits.IntakeEnvelopes},
		"host":    {cloisterv1.Host_Bundle_FullMethodName, limits.HostRequests},
	} {
		dial := w.doors()[name]
		conns := make([]*grpc.ClientConn, 3)
		for i := range conns {
			var err error
			conns[i], err = grpc.NewClient("passthrough:///"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
			must(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		refused := 0
		for i := range c.most + 10 {
			stream, err := conns[i%len(conns)].NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, c.method)
			must(t, err)
			if i < c.most-2 { // the deployment may have one of its own
				continue
			}
			answered := make(chan error, 1)
			go func() { answered <- stream.RecvMsg(&healthv1.HealthCheckResponse{}) }()
			select {
			case err := <-answered:
				if _, hint := grpcform.Delay(err); status.Code(err) != codes.ResourceExhausted || !hint {
					t.Errorf("%s: request %d: %v", name, i, err)
				}
				refused++
			case <-time.After(100 * time.Millisecond):
			}
		}
		if refused < 8 {
			t.Errorf("%s: %d of %d requests were refused", name, refused, c.most+10)
		}
		cancel()
		for _, conn := range conns {
			conn.Close()
		}
	}
	w.eventually(t, "the gateway to be served again", func() bool {
		_, err := w.gateway.Health(t.Context(), &cloisterv1.HealthRequest{})
		return err == nil
	})
}

// flood hands in more good envelopes at once than anybody works on. Each is
// taken or told to come again, and none is lost.
func (w *world) flood(t *testing.T) {
	const many = 100
	envelopes := make([][]byte, many)
	for i := range envelopes {
		envelopes[i] = w.seal(1, good(), nil)
	}
	var all sync.WaitGroup
	for _, e := range envelopes {
		all.Go(func() {
			for {
				resp, err := w.gateway.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: e})
				if err == nil && resp.GetState() != cloisterv1.SubmitResponse_STATE_RECEIPTED && resp.GetState() != cloisterv1.SubmitResponse_STATE_PENDING {
					t.Errorf("a good envelope: %v", resp.GetState())
					return
				}
				if resp.GetState() == cloisterv1.SubmitResponse_STATE_RECEIPTED {
					return
				}
				if _, hint := grpcform.Delay(err); err != nil && !hint {
					t.Errorf("a good envelope: %v", err)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	all.Wait()
	if n := w.gauge(t, "cloister_gateway_pending"); n != 0 {
		t.Errorf("%v envelopes are pending", n)
	}
}

// get answers a page of the admin listener.
func (w *world) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(w.status.Admin + path)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(b)
}

// gauge answers a series of a scrape, which must parse.
func (w *world) gauge(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	_, text := w.get(t, "/metrics")
	s, err := exposition.Parse(text)
	must(t, err)
	v, ok := s.Value(name, labels...)
	if !ok {
		t.Errorf("no series %s %v", name, labels)
	}
	return v
}

func (w *world) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

// admin: the listener shows, takes no more than so many connections, and
// changes nothing.
func (w *world) admin(t *testing.T) {
	if code, text := w.get(t, "/healthz"); code != http.StatusOK || text != "ok\n" {
		t.Errorf("healthz: %d %q", code, text)
	}
	if code, text := w.get(t, "/readyz"); code != http.StatusOK || text != "ready\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	address := strings.TrimPrefix(w.status.Admin, "http://")
	http.DefaultClient.CloseIdleConnections()
	var held []net.Conn
	for range limits.AdminConnections + 1 {
		c, err := net.Dial("tcp", address)
		must(t, err)
		held = append(held, c)
	}
	over := held[limits.AdminConnections]
	must(t, over.SetReadDeadline(time.Now().Add(5*time.Second)))
	if _, err := over.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one connection too many: %v", err)
	}
	for _, c := range held {
		c.Close()
	}
}
