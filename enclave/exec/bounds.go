package exec

import (
	"encoding/binary"
	"math/bits"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// maxGroups is the largest Bounds.MaxGroups.
	maxGroups = 64
	// boundsKey is the size of Bounds.Key, in bytes.
	boundsKey = 32
)

// Bounds say how much one unit may add to an answer, so that noise can hide
// whether it is there (protected-queries.md section 4.3). They come from
// policy and contract and never from data or from a query.
type Bounds struct {
	// MaxGroups is in how many groups a unit counts, 1 to 64. In which of its
	// own depends on the key, the unit's name and the groups' keys alone, not on
	// the order of rows or on what is in them.
	MaxGroups int
	// MaxCount is how many rows of a unit count in a group at most, and how many
	// values of a column; at least 1.
	MaxCount int64
	// Sums bounds the sum of a unit's values in a group, in stored units. It is
	// by field, for each that is added up.
	Sums map[int]Interval
	// Key chooses groups, 32 bytes. It must be one that only this query on this
	// snapshot has, and that nobody outside of the enclave can know.
	Key secret.Bytes
}

// Interval is all integers from Low to High.
type Interval struct{ Low, High int64 }

// fit says whether the bounds are any, and for a plan's aggregates.
func (b *Bounds) fit(p *sql.Plan) bool {
	if b.MaxGroups < 1 || b.MaxGroups > maxGroups || b.MaxCount < 1 || b.Key.Len() != boundsKey {
		return false
	}
	for _, a := range p.Aggregates() {
		if a.Func != sql.Sum && a.Func != sql.Avg {
			continue
		}
		if sum, ok := b.Sums[a.Field]; !ok || sum.Low > sum.High {
			return false
		}
	}
	return true
}

// chooser ranks the groups of a unit at random, the same way whenever the key
// is the same.
type chooser struct {
	units, groups sipKey
	buffer        []byte
}

func newChooser(b *Bounds) *chooser {
	key := b.Key.Expose()
	return &chooser{units: newSipKey(key[:16]), groups: newSipKey(key[16:])}
}

// unit answers a unit's share of the ranks, which is odd.
func (c *chooser) unit(name []byte) uint64 { return c.units.sum(name) | 1 }

// group answers a group's share of the ranks, which is odd and so never 0.
func (c *chooser) group(values []contract.Value) uint64 {
	c.buffer = c.buffer[:0]
	for _, v := range values {
		null := byte(0)
		if v.Null {
			null = 1
		}
		c.buffer = append(c.buffer, null)
		c.buffer = binary.LittleEndian.AppendUint64(c.buffer, uint64(v.Int))
		c.buffer = binary.LittleEndian.AppendUint64(c.buffer, uint64(len(v.Text)))
		c.buffer = append(c.buffer, v.Text...)
	}
	return c.groups.sum(c.buffer) | 1
}

// rank mixes both shares, which are random: the smallest ranks are chosen.
func rank(unit, group uint64) uint64 {
	high, low := bits.Mul64(unit, group)
	return high ^ low
}
