package main

import (
	"cmp"
	"slices"
	"sync"

	"github.com/cloisterhq/cloister/enclave/store/table"
)

// clustered is what a program for one question alone would have in memory:
// plain arrays, all rows of a person together. Its loops are the limit that the
// executor is held against.
type clustered struct {
	persons []uint32
	regions []uint8
	amounts []int32
}

func newClustered(snap *table.Snapshot) *clustered {
	c := &clustered{}
	var units []uint32
	var values []int64
	for _, p := range snap.Partitions() {
		cursor := p.Cursor(batchRows)
		for spans := cursor.Next(); spans != nil; spans = cursor.Next() {
			for _, s := range spans {
				units, values = slices.Grow(units[:0], s.Len())[:s.Len()], slices.Grow(values[:0], s.Len())[:s.Len()]
				s.Units(units)
				c.persons = append(c.persons, units...)
				piece := s.Column(region)
				piece.Values(values)
				for _, v := range values {
					c.regions = append(c.regions, uint8(v))
				}
				piece = s.Column(amount)
				piece.Values(values)
				for _, v := range values {
					c.amounts = append(c.amounts, int32(v))
				}
			}
		}
	}
	return c
}

// run works on both halves of the rows at the same time.
func (c *clustered) run(name string) {
	loop := map[string]func(from, to int){wholeLoop: c.byRegion, bounding: c.bounded}[name]
	half := len(c.persons) / 2
	for half < len(c.persons) && c.persons[half] == c.persons[half-1] {
		half++
	}
	var other sync.WaitGroup
	other.Go(func() { loop(half, len(c.persons)) })
	loop(0, half)
	other.Wait()
}

// byRegion counts rows and people and adds up amounts.
func (c *clustered) byRegion(from, to int) {
	var rows, sums [64]int64
	var people, last [64]uint32
	for i := from; i < to; i++ {
		g := c.regions[i] & 63
		rows[g]++
		sums[g] += int64(c.amounts[i])
		if last[g] != c.persons[i]+1 {
			last[g] = c.persons[i] + 1
			people[g]++
		}
	}
}

// bounded does it for three regions a person, with sums clamped.
func (c *clustered) bounded(from, to int) {
	var rows, sums, ownRows, ownSums [64]int64
	own := make([]uint8, 0, 64)
	for i := from; i < to; {
		who := c.persons[i]
		own = own[:0]
		for ; i < to && c.persons[i] == who; i++ {
			g := c.regions[i] & 63
			if ownRows[g] == 0 {
				own = append(own, g)
			}
			ownRows[g]++
			ownSums[g] += int64(c.amounts[i])
		}
		if len(own) > 3 {
			slices.SortFunc(own, func(a, b uint8) int { return cmp.Compare(shuffled(who, a), shuffled(who, b)) })
		}
		for k, g := range own {
			if k < 3 {
				rows[g] += min(ownRows[g], 20)
				sums[g] += min(max(ownSums[g], 0), 1_000_000)
			}
			ownRows[g], ownSums[g] = 0, 0
		}
	}
}

func shuffled(person uint32, region uint8) uint64 {
	z := uint64(person)<<8 + uint64(region)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	return z ^ z>>27
}
