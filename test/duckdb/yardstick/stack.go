package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/sim/stack"
)

// Stack is the whole way of envelopes: a producer's connection, the parent with
// its durable inbox, and the enclave, each a process of its own.
type Stack struct {
	Rows  int      `json:"rows"`
	Waves []*Waves `json:"waves"`
}

// Waves is one size of envelopes.
type Waves struct {
	EnvelopeRows int     `json:"rows_an_envelope"`
	RowsASecond  float64 `json:"rows_a_second"`
	// The processor's time of each process, in nanoseconds a row.
	Producer float64 `json:"producer_ns"`
	Parent   float64 `json:"parent_ns"`
	Enclave  float64 `json:"enclave_ns"`
}

const stackConfig = `version: 1
deployment: yardstick
profile: simulation
datasets:
  - contract: visits.yaml
`

const stackContract = `apiVersion: v3.0.2
kind: DataContract
id: visits
name: visits
version: 1.0.0
status: active
schema:
  - name: visits
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: 5}
      - {property: cloister.mode, value: threshold}
    properties:
      - {name: person, logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: category, logicalType: integer, required: true, logicalTypeOptions: {minimum: 0, maximum: 999}, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: region, logicalType: string, required: true, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: amount, logicalType: integer, required: true, logicalTypeOptions: {minimum: 0, maximum: 10000000}, customProperties: [{property: cloister.role, value: measure}]}
      - {name: instant, logicalType: timestamp, required: true, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: flag, logicalType: boolean, required: true, customProperties: [{property: cloister.role, value: dimension}]}
`

// inFlight is how many envelopes a producer has on the way.
const inFlight = 4

// measureStack runs the processes of a deployment that it makes for this.
func (r *Ingestion) measureStack(ctx context.Context, bin string, rows, repeats int) (err error) {
	dir, err := os.MkdirTemp("", "yardstick-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, content := range map[string]string{"cloister.yaml": stackConfig, "visits.yaml": stackContract} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	sim, at := filepath.Join(bin, "cloister-sim"), filepath.Join(dir, "state")
	if out, err := exec.CommandContext(ctx, sim, "up", "--config", dir, "--state", at).CombinedOutput(); err != nil {
		return fmt.Errorf("cloister-sim up: %w\n%s", err, out)
	}
	defer func() { _ = exec.Command(sim, "down", "--state", at).Run() }()
	d, err := connect(ctx, at)
	if err != nil {
		return err
	}
	defer d.conn.Close()
	r.Stack = &Stack{Rows: rows}
	for i, size := range []int{limits.BatchRows, smallEnvelope} {
		all := make([]*Waves, repeats)
		for k := range all {
			sealed, err := d.seal(ctx, fmt.Sprint("wave-", i, "-", k), rows, size)
			if err != nil {
				return err
			}
			if all[k], err = d.measure(ctx, sealed, rows, size); err != nil {
				return err
			}
		}
		w := medianOf(all)
		fmt.Printf("whole stack, envelopes of %6d rows: %.1f M rows/s; CPU a row: producer %.0f ns, parent %.0f, enclave %.0f\n",
			size, w.RowsASecond/1e6, w.Producer, w.Parent, w.Enclave)
		r.Stack.Waves = append(r.Stack.Waves, w)
	}
	return nil
}

// medianOf answers the median of each figure.
func medianOf(all []*Waves) *Waves {
	of := func(figure func(*Waves) float64) float64 {
		var list []float64
		for _, w := range all {
			list = append(list, figure(w))
		}
		return median(list)
	}
	return &Waves{
		EnvelopeRows: all[0].EnvelopeRows, RowsASecond: of(func(w *Waves) float64 { return w.RowsASecond }),
		Producer: of(func(w *Waves) float64 { return w.Producer }), Parent: of(func(w *Waves) float64 { return w.Parent }),
		Enclave: of(func(w *Waves) float64 { return w.Enclave }),
	}
}

// deployed is a deployment, and a producer's way into it.
type deployed struct {
	layout  stack.Layout
	client  *client.Client
	conn    *grpc.ClientConn
	gateway cloisterv1.GatewayClient
}

func connect(ctx context.Context, dir string) (*deployed, error) {
	layout, err := stack.At(dir)
	if err != nil {
		return nil, err
	}
	status, err := stack.Inspect(ctx, layout)
	if err != nil {
		return nil, err
	}
	config, err := client.Load(layout.Context())
	if err != nil {
		return nil, err
	}
	c, err := client.New(config)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+status.Gateway, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(limits.Message), grpc.MaxCallRecvMsgSize(limits.Message)))
	if err != nil {
		return nil, err
	}
	return &deployed{layout, c, conn, cloisterv1.NewGatewayClient(conn)}, nil
}

// seal seals rows as the producer's program does.
func (d *deployed) seal(ctx context.Context, stream string, rows, size int) ([][]byte, error) {
	peer, err := d.client.Verify(ctx)
	if err != nil {
		return nil, err
	}
	sealer, err := d.client.NewSealer(ctx, peer.Bundle, "visits", stream)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	g, c := newGenerator(rows), visits(sixColumns)
	g.size = size
	for n, batch := g.next(sixColumns); n > 0; n, batch = g.next(sixColumns) {
		sealed, err := sealer.Seal(uint64(len(all)), records(c, n, batch))
		if err != nil {
			return nil, err
		}
		all = append(all, sealed.Envelope)
	}
	return all, nil
}

// measure hands envelopes in until each has its receipt.
func (d *deployed) measure(ctx context.Context, sealed [][]byte, rows, size int) (*Waves, error) {
	mine, parent, enclave, begin := cpuTime(), d.cpu(stack.Parent), d.cpu(stack.Enclave), time.Now()
	l := letters{sealed: sealed}
	if err := l.each(inFlight, func(raw []byte) error { return d.submit(ctx, raw) }); err != nil {
		return nil, err
	}
	wall := time.Since(begin)
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(rows) }
	return &Waves{
		EnvelopeRows: size, RowsASecond: float64(rows) / wall.Seconds(),
		Producer: each(cpuTime() - mine), Parent: each(d.cpu(stack.Parent) - parent), Enclave: each(d.cpu(stack.Enclave) - enclave),
	}, nil
}

// submit hands an envelope in until it has its receipt.
func (d *deployed) submit(ctx context.Context, raw []byte) error {
	for {
		resp, err := d.gateway.Submit(ctx, &cloisterv1.SubmitRequest{Envelope: raw})
		switch code := status.Code(err); {
		case code == codes.Unavailable || code == codes.ResourceExhausted:
		case err != nil:
			return err
		case resp.GetState() == cloisterv1.SubmitResponse_STATE_RECEIPTED:
			return nil
		case resp.GetState() == cloisterv1.SubmitResponse_STATE_REFUSED:
			return fmt.Errorf("refused: %s", resp.GetRefusal())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// tick is the unit of processor times in /proc (proc(5)), which has been the
// same on Linux for long.
const tick = 10 * time.Millisecond

// cpu is the processor's time of a role's process so far.
func (d *deployed) cpu(role string) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.layout.PID(role)))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick
}
