package fault_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloisterhq/cloister/internal/columns"
)

// people is how many records a part has: enough to be shown.
const people = 6

// part is a group of records that a query shows by itself.
type part struct{ sum int64 }

// model is what the answers must be in the end, and what they must hold by now.
type model struct {
	mu sync.Mutex
	// parts are all that were ever made, by number.
	parts map[int64]part
	// receipted are those of which every record has a receipt: they are in every
	// answer from now on.
	receipted map[int64]bool
	// doubtful are those of batches that were handed over without an answer:
	// the gateway may have them.
	doubtful map[int64]bool
	next     int64
}

func newModel() *model {
	return &model{parts: map[int64]part{}, receipted: map[int64]bool{}, doubtful: map[int64]bool{}}
}

// draw makes the records of some new parts, and knows their answers.
func (m *model) draw(r *rand.Rand, parts int) (numbers []int64, records []columns.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range parts {
		n := m.next
		m.next++
		numbers = append(numbers, n)
		p := part{}
		for i := range int64(people) {
			x := r.Int64N(1_000_001)
			p.sum += x
			records = append(records, columns.Record{columns.Int("id", n*people+i), columns.Int("part", n), columns.Int("x", x)})
		}
		m.parts[n] = p
	}
	r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return numbers, records
}

// csv writes records down, and one that breaks a rule behind every tenth.
func csv(records []columns.Record) (text string, rejected int) {
	var b strings.Builder
	b.WriteString("id,part,x\n")
	for i, r := range records {
		fmt.Fprintf(&b, "%d,%d,%d\n", r[0].Int, r[1].Int, r[2].Int)
		if i%10 == 9 {
			fmt.Fprintf(&b, "%d,%d,-1\n", r[0].Int, r[1].Int)
			rejected++
		}
	}
	return b.String(), rejected
}

// settle notes parts that have their receipts.
func (m *model) settle(numbers []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range numbers {
		m.receipted[n] = true
		delete(m.doubtful, n)
	}
}

// doubt notes parts that may never arrive.
func (m *model) doubt(numbers []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range numbers {
		m.doubtful[n] = true
	}
}

// promised answers the parts that must be in an answer from now on.
func (m *model) promised() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]int64, 0, len(m.receipted))
	for n := range m.receipted {
		all = append(all, n)
	}
	return all
}

// all answers every part that must arrive in the end.
func (m *model) all() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []int64
	for n := range m.parts {
		if !m.doubtful[n] {
			all = append(all, n)
		}
	}
	return all
}

// question is what answers are compared by.
const question = "SELECT part, COUNT(*) AS n, COUNT(DISTINCT id) AS people, SUM(x) AS s FROM crash GROUP BY part"

// compare holds an answer against the model: no part is there twice or in part,
// and none of those that were promised is missing. Unless it is final, parts on
// their way may be there in part, since a batch ends where it ends. It answers
// how many parts there are.
func (m *model) compare(t *testing.T, answer string, promised []int64, final bool) int {
	t.Helper()
	var a struct{ Rows [][]json.Number }
	decoder := json.NewDecoder(strings.NewReader(answer))
	decoder.UseNumber()
	if err := decoder.Decode(&a); err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	there := map[int64]bool{}
	for _, row := range a.Rows {
		n, err := row[0].Int64()
		if err != nil || there[n] {
			t.Errorf("part %s stands twice or isn't one", row[0])
			continue
		}
		there[n] = true
		p, known := m.parts[n]
		rows, _ := row[1].Int64()
		whole := rows == people && row[2] == row[1] && row[3].String() == fmt.Sprint(p.sum)
		if !known || !whole && (final || slices.Contains(promised, n) || rows > people) {
			t.Errorf("part %d: %s records of %s people and sum %s; want %d and %d; known %t", n, row[1], row[2], row[3], people, p.sum, known)
		}
	}
	for _, n := range promised {
		if !there[n] {
			t.Errorf("part %d was receipted and is missing", n)
		}
	}
	return len(there)
}

// shown says whether an answer holds all these parts.
func (m *model) shown(answer string, parts []int64) bool {
	there := map[string]bool{}
	var a struct{ Rows [][]json.Number }
	if json.Unmarshal([]byte(answer), &a) != nil {
		return len(parts) == 0
	}
	for _, row := range a.Rows {
		there[row[0].String()] = true
	}
	return !slices.ContainsFunc(parts, func(n int64) bool { return !there[fmt.Sprint(n)] })
}
