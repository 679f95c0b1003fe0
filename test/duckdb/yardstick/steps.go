package main

import (
	"runtime"
	"time"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
)

// Step is one thing that happens to envelopes, in nanoseconds a row by the
// clock of one goroutine.
type Step struct {
	Name        string  `json:"name"`
	Nanoseconds float64 `json:"ns"`
}

// The steps, in their order.
const (
	stepHash = iota
	stepSignature
	stepOpen
	stepDecode
	stepRules
	stepDigest
	stepAppend
	stepMerge
	allSteps
)

// measureSteps takes envelopes of the largest size through each step, one after
// the other, and answers medians.
func (r *Ingestion) measureSteps(rows, repeats int) error {
	l, err := newLetters(rows, batchRows, sixColumns)
	if err != nil {
		return err
	}
	var runs [allSteps][]float64
	for range repeats {
		runtime.GC()
		spent, err := l.walk()
		if err != nil {
			return err
		}
		for i, d := range spent {
			runs[i] = append(runs[i], float64(d.Nanoseconds())/float64(rows))
		}
	}
	for i, name := range []string{
		"hash", "signature", "open", "decode", "rules", "hash of the content", "people, clustering, packing: visible to queries",
		"merges in the background, on their own",
	} {
		r.Steps = append(r.Steps, &Step{name, median(runs[i])})
	}
	return nil
}

// walk answers how long each step took for all envelopes. Merges wait for each
// other: what is left of them comes last.
func (l *letters) walk() (spent [allSteps]time.Duration, err error) {
	c := &l.bundle.Datasets[0].Contract
	v, err := contract.NewValidator(c)
	if err != nil {
		return spent, err
	}
	tables := store.New([]*contract.Contract{c})
	var last time.Time
	lap := func(step int) {
		now := time.Now()
		spent[step] += now.Sub(last)
		last = now
	}
	for _, raw := range l.sealed {
		last = time.Now()
		sealed, err := envelope.Parse(raw)
		if err != nil {
			return spent, err
		}
		lap(stepHash)
		authentic, err := sealed.Authenticate(l.bundle.Producers[0].Key)
		if err != nil {
			return spent, err
		}
		lap(stepSignature)
		opened, err := authentic.Open(l.key())
		if err != nil {
			return spent, err
		}
		lap(stepOpen)
		if _, err := columns.DecodePacked(opened.Content(), opened.Rows()); err != nil {
			return spent, err
		}
		lap(stepDecode)
		batch, _, err := record.Decode(opened, v)
		if err != nil {
			return spent, err
		}
		lap(stepRules)
		opened.ContentDigest()
		lap(stepDigest)
		if err := tables.Append(batch); err != nil {
			return spent, err
		}
		lap(stepAppend)
		tables.Settle()
		lap(stepMerge)
	}
	spent[stepRules] = max(0, spent[stepRules]-spent[stepDecode]) // it decodes too
	return spent, nil
}
