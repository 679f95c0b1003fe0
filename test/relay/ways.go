package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/parent/relay"
)

// child is the first argument of a process that is one of the ways.
const child = "serve"

// The ways, as the tables name them.
const (
	direct = "no proxy, unix socket"
	loop   = "bare loop"
	socat  = "socat"
	ours   = "relay"
	// inside ends the names of proxies in the process of both ends.
	inside = ", same process"
)

// way is one way to the sink.
type way struct {
	name    string
	dial    func() (net.Conn, error)
	process *exec.Cmd // nil for what this process does itself
	inside  bool      // a proxy in this process, of which only round trips count
	end     func()
	values  map[string][]float64
}

func (w *way) add(values map[string]float64) {
	if w.values == nil {
		w.values = map[string][]float64{}
	}
	for name, v := range values {
		w.values[name] = append(w.values[name], v)
	}
}

func (w *way) stop() {
	if w.end != nil {
		w.end()
	}
	if w.process == nil {
		return
	}
	_ = w.process.Process.Kill()
	_ = w.process.Wait() // it was killed
}

// open starts every way there is on this machine.
func open(ctx context.Context, dir string) ([]*way, error) {
	s, err := openSink(dir)
	if err != nil {
		return nil, err
	}
	enclave := func(ctx context.Context) (net.Conn, error) {
		return vsock.Unix(dir, vsock.HostCID).Dial(ctx, vsock.EnclaveCID, vsock.PortAttested)
	}
	ways := []*way{{name: direct, dial: func() (net.Conn, error) { return enclave(ctx) }, end: s.close}}
	for _, name := range []string{loop, ours} {
		w, err := startChild(name, dir)
		if err != nil {
			return ways, err
		}
		ways = append(ways, w)
		if w, err = startInside(name, dir); err != nil {
			return ways, err
		}
		ways = append(ways, w)
	}
	if path, err := exec.LookPath("socat"); err == nil {
		w, err := startSocat(path, dir)
		if err != nil {
			return ways, err
		}
		ways = append(ways, w)
	}
	return ways, nil
}

func dialer(address string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.Dial("tcp", address) }
}

// startChild runs one of our own ways in a process of its own, as socat is.
func startChild(name, dir string) (*way, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, child, name, dir)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // it ends with this process, and then the child does
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &way{name: name, process: cmd}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w.dial = dialer(strings.TrimSpace(address))
	return w, nil
}

// startInside runs one of our own ways in this process.
func startInside(name, dir string) (*way, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { _ = serve(name, l, dir) }() // it ends with the listener
	return &way{name: name + inside, dial: dialer(l.Addr().String()), end: func() { l.Close() }, inside: true}, nil
}

// startSocat runs socat with buffers and a backlog like ours.
func startSocat(path, dir string) (*way, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "-b", "65536", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork,backlog=256,nodelay",
		"UNIX-CONNECT:"+filepath.Join(dir, fmt.Sprintf("vsock-%d-%d.sock", vsock.EnclaveCID, vsock.PortAttested)))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &way{name: socat, process: cmd, dial: dialer(address)}
	for range 100 {
		var c net.Conn
		if c, err = w.dial(); err == nil {
			c.Close()
			return w, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.stop()
	return nil, fmt.Errorf("socat doesn't listen: %w", err)
}

// serveChild is the process of one of our own ways.
func serveChild(name, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the other process ends
		l.Close()
	}()
	return serve(name, l, dir)
}

// serve is one of our own ways.
func serve(name string, l net.Listener, dir string) error {
	dial := func(ctx context.Context) (net.Conn, error) {
		return vsock.Unix(dir, vsock.HostCID).Dial(ctx, vsock.EnclaveCID, vsock.PortAttested)
	}
	switch name {
	case loop:
		return serveLoop(l, dial)
	case ours:
		// As cloister-parent does it: limits, silence, counters and a log.
		registry := metrics.NewRegistry()
		log, err := openLog()
		if err != nil {
			return err
		}
		return relay.Serve(context.Background(), l, relay.Config{Dial: dial, Metrics: relay.NewMetrics(registry), Log: log})
	}
	return fmt.Errorf("no way is called %q", name)
}

// openLog answers a log that is written, to nobody.
func openLog() (*slog.Logger, error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return slog.New(slog.NewJSONHandler(null, nil)), nil
}

// serveLoop is the least that a proxy does: two goroutines a connection, pooled
// buffers, ends passed on.
func serveLoop(l net.Listener, dial func(context.Context) (net.Conn, error)) error {
	buffers := sync.Pool{New: func() any { return new([piece]byte) }}
	oneWay := func(to, from net.Conn) {
		buffer := buffers.Get().(*[piece]byte)
		defer buffers.Put(buffer)
		for {
			n, err := from.Read(buffer[:])
			if n > 0 {
				if _, err := to.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				break
			}
		}
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // it may be gone
		}
	}
	for {
		near, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer near.Close()
			far, err := dial(context.Background())
			if err != nil {
				return
			}
			defer far.Close()
			var other sync.WaitGroup
			other.Go(func() { oneWay(near, far) })
			oneWay(far, near)
			other.Wait()
		}()
	}
}

// ticks is USER_HZ, the unit of times in proc(5).
const ticks = 100

// cpu answers the processor's seconds of a way's process and of its children
// that have ended, once none is left.
func (w *way) cpu() (float64, error) {
	if w.process == nil {
		return 0, nil
	}
	pid := strconv.Itoa(w.process.Process.Pid)
	for range 500 {
		children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
		if err != nil || len(children) == 0 {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 15 {
		return 0, errors.New("/proc/PID/stat isn't as proc(5) says")
	}
	total := 0.0
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, err
		}
		total += n / ticks
	}
	return total, nil
}
