package e2e_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql/driver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// proxy is a `cloister connect` that runs.
type proxy struct {
	// address and password are where TCP clients go, socket is the other way.
	address, password, socket string

	cmd   *exec.Cmd
	ended chan error
	words // of its stderr
}

// connect starts the proxy and waits until it is ready.
func (d *deployment) connect() *proxy {
	d.t.Helper()
	p := &proxy{ended: make(chan error, 1), socket: filepath.Join(d.state, "c.sock")}
	p.cmd = exec.CommandContext(d.t.Context(), filepath.Join(bin, "cloister"), "connect", "--listen", "127.0.0.1:0", "--socket", p.socket, "-o", "json")
	p.cmd.Env = []string{"CLOISTER_CONTEXT=" + filepath.Join(d.state, "context.json")}
	p.cmd.Stderr = &p.words
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		d.t.Fatalf("%v: %s", err, p.said())
	}
	go func() { p.ended <- p.cmd.Wait() }()
	var ready struct {
		Endpoints []struct{ URI, Password string }
	}
	if err := json.Unmarshal([]byte(line), &ready); err != nil || len(ready.Endpoints) != 2 {
		d.t.Fatalf("%v: %s", err, line)
	}
	p.address, p.password = strings.TrimPrefix(ready.Endpoints[1].URI, "grpc://"), ready.Endpoints[1].Password
	return p
}

// open is arrow-go's database/sql driver, a stock client.
func (p *proxy) open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("flightsql", fmt.Sprintf("flightsql://any:%s@%s", p.password, p.address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// people is how many records are about women.
const people = 4350

func count(ctx context.Context, db *sql.DB, query string, args ...any) (n int64, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return 0, err
		}
	}
	return n, rows.Err()
}

// TestConnect takes stock clients through what can happen to an enclave.
func TestConnect(t *testing.T) {
	d := up(t, filepath.Join("..", "data"))
	d.run(0, "cloister", "submit", "--dataset", "flchain", filepath.Join("..", "data", "flchain.csv"))
	p := d.connect()
	db := p.open(t)
	women := func() {
		t.Helper()
		// While the enclave starts again a call may meet it without its state:
		// Unavailable, which a client tries again.
		var n int64
		var err error
		for range 100 {
			if n, err = count(t.Context(), db, "SELECT COUNT(*) AS n FROM flchain WHERE sex = 'F'"); statusOf(err).Code() != codes.Unavailable {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil || n != people {
			t.Fatalf("%d, %v\n%s%s", n, err, p.said(), d.log())
		}
	}
	women()
	if n, err := count(t.Context(), db, "SELECT COUNT(*) AS n FROM flchain WHERE sex = ? AND mgus >= ?", "F", 0); err != nil || n != people {
		t.Errorf("with parameters: %d, %v", n, err)
	}
	if _, err := count(t.Context(), db, "SELECT id FROM flchain"); err == nil || !strings.Contains(err.Error(), "PQ201") || !strings.Contains(err.Error(), "Fix:") {
		t.Errorf("a query for people: %v", err)
	}
	twoClients(t, p)

	before := strings.Count(p.said(), "verified again")
	if err := killRole(d.state, "enclave"); err != nil {
		t.Fatal(err)
	}
	women()
	if after := strings.Count(p.said(), "verified again"); before < 1 || after <= before {
		t.Errorf("verified %d times before a kill, %d after: %s", before, after, p.said())
	}

	token := filepath.Join(d.state, "token")
	if err := os.WriteFile(token, []byte("e30.eyJleHAiOjF9.c2ln"), 0o600); err != nil { // {"exp":1}
		t.Fatal(err)
	}
	_, err := count(t.Context(), db, "SELECT COUNT(*) AS n FROM flchain")
	if s := statusOf(err); s.Code() != codes.Unauthenticated || !strings.Contains(s.Message(), "expired at 1970-01-01T00:00:01Z") {
		t.Errorf("an expired token: %v", err)
	}
	d.run(0, "cloister-sim", "token", "--state", d.state)
	women()

	d.run(1, "cloister-sim", "up", "--state", d.state, "--image-label", "other")
	for range 2 {
		_, err = count(t.Context(), db, "SELECT COUNT(*) AS n FROM flchain")
		if s := statusOf(err); s.Code() != codes.FailedPrecondition || !strings.HasPrefix(s.Message(), "attestation refused: policy mismatch: PCR0") {
			t.Errorf("another image: %v", err)
		}
	}
	d.run(0, "cloister-sim", "up", "--state", d.state)
	women()

	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-p.ended; err != nil {
		t.Errorf("after Ctrl-C: %v: %s", err, p.said())
	}
	if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// statusOf finds the gRPC status in a client's error.
func statusOf(err error) *status.Status {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus()
	}
	return status.Convert(err)
}

// twoClients ask at once, one through each door.
func twoClients(t *testing.T, p *proxy) {
	t.Helper()
	db := p.open(t)
	local, err := flightsql.NewClientCtx(t.Context(), "unix://"+p.socket, nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			if n, err := count(ctx, db, "SELECT COUNT(*) AS n FROM flchain WHERE sex = 'F'"); err != nil || n != people {
				t.Errorf("over TCP: %d, %v", n, err)
			}
		})
		running.Go(func() {
			info, err := local.Execute(ctx, "SELECT COUNT(*) AS n FROM flchain WHERE sex = 'F'")
			if err != nil {
				t.Errorf("over the socket: %v", err)
				return
			}
			reader, err := local.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
			if err != nil {
				t.Errorf("over the socket: %v", err)
				return
			}
			defer reader.Release()
			for reader.Next() {
			}
			if floor, ok := reader.Schema().Metadata().GetValue("cloister.floor"); reader.Err() != nil || !ok || floor != "10" {
				t.Errorf("over the socket: floor %s, %v", floor, reader.Err())
			}
		})
	}
	running.Wait()
}
