package gateway_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// TestWhateverHappens submits, asks, kills, locks and restarts at random. All
// along, what was said stays true: a verdict doesn't change, and what was once
// pending is never unknown. At the end every envelope has its verdict.
func TestWhateverHappens(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			w.config.Wait = 50 * time.Millisecond
			w.enclave.behave(func(_ context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
				if got[len(got)-1]%3 == 0 {
					return nil, status.Error(codes.FailedPrecondition, "a reason")
				}
				return give(got), nil
			})
			w.up()
			model := map[int]cloisterv1.SubmitResponse_State{}
			learn := func(i int, resp *cloisterv1.SubmitResponse) {
				t.Helper()
				w.check(made(i), resp, resp.GetState())
				if before := model[i]; before > pending && resp.GetState() != before {
					t.Fatalf("envelope %d was %v and is %v", i, before, resp.GetState())
				}
				model[i] = resp.GetState()
			}
			for range 80 {
				switch i := random.IntN(12); random.IntN(10) {
				case 0:
					w.enclave.kill()
				case 1:
					w.enclave.start()
				case 2:
					w.enclave.set([]string{"ready", "waiting for keys"}[random.IntN(2)])
				case 3:
					w.restart()
				case 4, 5:
					if model[i] != 0 {
						learn(i, w.ask(made(i)))
					}
				default:
					resp, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: made(i)})
					if err != nil {
						t.Fatal(err)
					}
					learn(i, resp)
				}
			}
			w.enclave.set("ready")
			w.enclave.start()
			for i := range model {
				want := receipted
				if made(i)[len(made(i))-1]%3 == 0 {
					want = refused
				}
				learn(i, w.becomes(made(i), want))
			}
		})
	}
}

// made is one of the envelopes of a random walk; its last byte says its fate.
func made(i int) []byte { return append(envelope(fmt.Sprintf("made %d ", i)), byte(i)) }
