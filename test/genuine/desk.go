package genuine

import (
	"context"
	"time"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
)

// Catalog is contracts by dataset.
type Catalog map[string]*contract.Contract

// Contract answers a dataset's contract.
func (c Catalog) Contract(dataset string) (*contract.Contract, bool) {
	found, ok := c[dataset]
	return found, ok
}

// NewCatalog answers the catalogue of contracts that pass their Check.
func NewCatalog(contracts ...*contract.Contract) (Catalog, error) {
	c := Catalog{}
	for _, one := range contracts {
		if err := one.Check(); err != nil {
			return nil, err
		}
		c[one.Dataset] = one
	}
	return c, nil
}

// Desk is where an analyst's queries are granted, in a simulation.
type Desk struct {
	Who     *identity.Principal
	Objects *Objects
	Log     *audit.Log
	Gate    *protect.Gate
}

// NewDesk signs an analyst in and opens an audit log.
func NewDesk(ctx context.Context) (*Desk, error) {
	who, err := Principal(ctx, "somebody", "analyst")
	if err != nil {
		return nil, err
	}
	o := NewObjects()
	s, err := State(ctx, o)
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(ctx, audit.Config{Objects: o, Sealer: s, Now: time.Now})
	if err != nil {
		return nil, err
	}
	gate := protect.New(protect.Config{Profile: bundle.Simulation, Audit: log})
	return &Desk{Who: who, Objects: o, Log: log, Gate: gate}, nil
}

// Grant compiles a query over a dataset and has it granted.
func (d *Desk) Grant(ctx context.Context, c *contract.Contract, text string) (*protect.Grant, error) {
	catalog, err := NewCatalog(c)
	if err != nil {
		return nil, err
	}
	plan, err := sql.Compile(text, nil, catalog)
	if err != nil {
		return nil, err
	}
	return d.Gate.Authorise(ctx, d.Who, plan)
}

// Records answers the entries of the audit log.
func (d *Desk) Records(ctx context.Context) ([]audit.Record, error) {
	var all []audit.Record
	err := d.Log.Walk(ctx, func(r audit.Record) error {
		all = append(all, r)
		return nil
	})
	return all, err
}
