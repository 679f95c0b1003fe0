package objects

import (
	"context"
	"errors"
	"time"

	"github.com/cloisterhq/cloister/parent/metrics"
)

// Objects reads and writes single objects; see Dir for what the methods promise.
type Objects interface {
	PutIfAbsent(ctx context.Context, name string, content []byte) error
	Get(ctx context.Context, name string) ([]byte, error)
	Delete(ctx context.Context, name string) error
}

// Listing answers what objects there are; see Dir for what the methods promise.
type Listing interface {
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Entries(ctx context.Context, prefix string) ([]Entry, error)
}

// Driver keeps objects: Dir does.
type Driver interface {
	Objects
	Listing
}

// The operations of a driver, how they end, and the directions of bytes.
const (
	opPut    = "put"
	opGet    = "get"
	opDelete = "delete"
	opList   = "list"

	outcomeOK       = "ok"
	outcomeExists   = "exists"
	outcomeNotFound = "not_found"
	outcomeRefused  = "refused"
	outcomeFailed   = "failed"

	bytesRead    = "read"
	bytesWritten = "written"
)

// Measured counts what is done with a driver. It changes nothing.
type Measured struct {
	driver     Driver
	operations *metrics.Counter
	seconds    *metrics.Histogram
	bytes      *metrics.Counter
}

// Measure puts metrics in front of a driver.
func Measure(d Driver, r *metrics.Registry) *Measured {
	operation := metrics.Label{Name: "operation", Values: []string{opPut, opGet, opDelete, opList}}
	return &Measured{
		driver: d,
		operations: r.Counter("cloister_objects_operations_total", "Operations of the object store by how they ended.",
			operation, metrics.Label{Name: "outcome", Values: []string{outcomeOK, outcomeExists, outcomeNotFound, outcomeRefused, outcomeFailed}}),
		seconds: r.Histogram("cloister_objects_operation_seconds", "How long operations of the object store took.",
			[]float64{0.001, 0.005, 0.02, 0.1, 0.5, 2, 10}, operation),
		bytes: r.Counter("cloister_objects_bytes_total", "Bytes of objects that were read and written.",
			metrics.Label{Name: "direction", Values: []string{bytesRead, bytesWritten}}),
	}
}

// done counts one operation.
func (m *Measured) done(operation string, begun time.Time, err error) {
	m.seconds.Observe(time.Since(begun).Seconds(), operation)
	m.operations.Inc(operation, outcome(err))
}

func outcome(err error) string {
	switch {
	case err == nil:
		return outcomeOK
	case errors.Is(err, ErrExists):
		return outcomeExists
	case errors.Is(err, ErrNotFound):
		return outcomeNotFound
	case errors.Is(err, ErrName), errors.Is(err, ErrTooLarge):
		return outcomeRefused
	default:
		return outcomeFailed
	}
}

// PutIfAbsent stores an object.
func (m *Measured) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	begun := time.Now()
	err := m.driver.PutIfAbsent(ctx, name, content)
	m.done(opPut, begun, err)
	if err == nil {
		m.bytes.Add(uint64(len(content)), bytesWritten)
	}
	return err
}

// Get answers an object's bytes.
func (m *Measured) Get(ctx context.Context, name string) ([]byte, error) {
	begun := time.Now()
	content, err := m.driver.Get(ctx, name)
	m.done(opGet, begun, err)
	m.bytes.Add(uint64(len(content)), bytesRead)
	return content, err
}

// Delete removes an object.
func (m *Measured) Delete(ctx context.Context, name string) error {
	begun := time.Now()
	err := m.driver.Delete(ctx, name)
	m.done(opDelete, begun, err)
	return err
}

// List answers names under a prefix.
func (m *Measured) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	begun := time.Now()
	names, err := m.driver.List(ctx, prefix, after, limit)
	m.done(opList, begun, err)
	return names, err
}

// Entries answers every object under a prefix.
func (m *Measured) Entries(ctx context.Context, prefix string) ([]Entry, error) {
	begun := time.Now()
	entries, err := m.driver.Entries(ctx, prefix)
	m.done(opList, begun, err)
	return entries, err
}
