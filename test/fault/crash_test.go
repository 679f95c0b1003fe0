package fault_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/test/fleet"
)

// perRound is how often a process of one deployment is killed: a deployment
// replays everything that it ever accepted after each kill, so it is kept small.
const perRound = 25

// victims are what is killed, the more often the more often it stands here.
func victims() []string {
	return []string{
		stack.Enclave, stack.Enclave, stack.Enclave, stack.Enclave, stack.Parent, stack.Parent, stack.Parent, stack.KMS, stack.KMS, stack.Issuer,
		submitter, submitter, submitter, everything,
	}
}

const (
	// submitter is the command that submits.
	submitter = "submitter"
	// everything is all processes at once, as when the machine dies.
	everything = "everything"
)

// TestCrash kills processes at random moments, in deployments of its own.
func TestCrash(t *testing.T) {
	t.Logf("seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 1))
	batches, killed := 0, map[string]int{}
	for left := *kills; left > 0 && !t.Failed(); left -= perRound {
		c := newCrash(t, random)
		c.round(min(left, perRound), killed)
		batches += c.check()
		c.fleet.Close()
	}
	if t.Failed() {
		return
	}
	total := 0
	for _, n := range killed {
		total += n
	}
	fmt.Printf("crash: %d kills, %d batches, none lost, none doubled\n", total, batches)
	t.Logf("killed %v", killed)
}

// crash is one deployment and those who use it.
type crash struct {
	t      *testing.T
	random *rand.Rand
	dir    string
	fleet  *fleet.Fleet
	model  *model
	bundle *bundle.Bundle

	producer *producer
	handler  *handler

	mu       sync.Mutex
	receipts map[string]uint64 // manifests by envelope
	asked    int               // answers that were compared
}

func newCrash(t *testing.T, random *rand.Rand) *crash {
	t.Helper()
	c := &crash{t: t, random: random, dir: t.TempDir(), fleet: fleet.New(t, bin, config(t)), model: newModel(), receipts: map[string]uint64{}}
	raw, err := os.ReadFile(c.fleet.Layout().Bundle())
	if err == nil {
		c.bundle, err = bundle.Decode(raw)
	}
	var context *client.Config
	if err == nil {
		context, err = client.Load(c.fleet.Layout().Context())
	}
	var cl *client.Client
	if err == nil {
		cl, err = client.New(context)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.producer = &producer{crash: c, random: rand.New(rand.NewPCG(random.Uint64(), 2))}
	c.handler = &handler{
		crash: c, random: rand.New(rand.NewPCG(random.Uint64(), 3)), client: cl, gateway: c.fleet.Gateway(), pending: map[[32]byte][]int64{},
	}
	return c
}

// note keeps what a receipt says.
func (c *crash) note(envelope string, manifest uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.receipts[envelope]; ok && before != manifest {
		c.t.Errorf("one envelope has two receipts: manifests %d and %d", before, manifest)
	}
	c.receipts[envelope] = manifest
}

// round lets everybody work and kills one after the other.
func (c *crash) round(kills int, killed map[string]int) {
	c.t.Helper()
	g := newGun(c)
	c.fleet.Start()
	c.fleet.Ready()
	ctx, stop := context.WithCancel(c.t.Context())
	defer stop()
	var working sync.WaitGroup
	working.Go(func() { c.producer.run(ctx) })
	working.Go(func() { c.handler.run(ctx) })
	working.Go(func() { c.analyse(ctx) })
	all := victims()
	for n := 0; n < kills && !c.t.Failed(); {
		rest(ctx, time.Duration(c.random.IntN(300))*time.Millisecond)
		victim := all[c.random.IntN(len(all))]
		if victim == submitter {
			if c.producer.kill() {
				killed[victim]++
				n++
			}
			continue
		}
		dead := []string{victim}
		switch {
		case victim == everything:
			dead = stack.Roles()
			c.producer.kill()
			for _, role := range dead {
				c.fleet.Kill(role, syscall.SIGKILL)
			}
		case victim != stack.Enclave && victim != stack.Parent || !g.aimed(victim):
			c.fleet.Kill(victim, syscall.SIGKILL)
		}
		killed[victim]++
		n++
		rest(ctx, time.Duration(c.random.IntN(3)*c.random.IntN(50))*time.Millisecond)
		c.fleet.Start(dead...)
		if c.random.IntN(2) == 0 { // else the next one dies while this one replays
			c.fleet.Ready()
		}
	}
	stop()
	working.Wait()
}

// analyse asks all the time: whatever has its receipt when a question is asked
// is in the answer.
func (c *crash) analyse(ctx context.Context) {
	for ctx.Err() == nil {
		promised := c.model.promised()
		cmd := c.fleet.Command(ctx, "query", "--wait", "1s", "-o", "json", question)
		out, err := cmd.Output()
		if err == nil {
			c.model.compare(c.t, string(out), promised, false)
			c.mu.Lock()
			c.asked++
			c.mu.Unlock()
		} else if code := cmd.ProcessState.ExitCode(); ctx.Err() == nil && code != 3 {
			c.t.Errorf("query: exit code %d: %v", code, err)
		}
		rest(ctx, 50*time.Millisecond)
	}
}

// ask answers the question.
func (c *crash) ask() string {
	c.t.Helper()
	code, out, errs := c.fleet.Client("query", "-o", "json", question)
	if code != 0 {
		c.t.Fatalf("query: exit code %d: %s", code, errs)
	}
	return out
}

// check completes everything, compares answers and receipts with the model and
// the state, and answers how many batches there are.
func (c *crash) check() int {
	c.t.Helper()
	if c.t.Failed() {
		return 0
	}
	c.fleet.Ready()
	c.producer.finish(c.t.Context())
	c.handler.finish(c.t.Context())
	all := c.model.all()
	there := c.model.compare(c.t, c.ask(), all, true)
	if len(all) > there || there > len(all)+len(c.model.doubtful) {
		c.t.Errorf("%d parts; want %d, and at most %d more", there, len(all), len(c.model.doubtful))
	}
	c.fleet.Kill(stack.Enclave, syscall.SIGKILL)
	c.fleet.Kill(stack.Parent, syscall.SIGKILL)
	examined := c.fleet.Examine()
	accepted := examined.State.Accepted()
	c.mu.Lock()
	defer c.mu.Unlock()
	unexplained := maps.Clone(c.receipts)
	for i, a := range accepted {
		envelope := hex.EncodeToString(a.Envelope[:])
		if manifest, ok := c.receipts[envelope]; ok && manifest != uint64(i)+1 {
			c.t.Errorf("a receipt names manifest %d; the batch stands in %d", manifest, i+1)
		}
		delete(unexplained, envelope)
	}
	if len(unexplained) > 0 {
		c.t.Errorf("%d receipts for batches that the state doesn't hold", len(unexplained))
	}
	c.t.Logf("%d batches, %d files, %d answers compared, %d parts in doubt", len(accepted), len(c.producer.done), c.asked, len(c.model.doubtful))
	return len(accepted)
}
