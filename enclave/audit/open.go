package audit

import (
	"context"
	"errors"
	"fmt"
)

// pageSize is how many names are listed at a time.
const pageSize = 1000

// Open finds the newest entry and continues after it. It checks that no number
// is missing, that the newest entry opens, and that it follows the one before;
// Walk checks all of them. ErrCorrupt is final; after errors of Objects, which
// are wrapped, Open may be called again.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Objects == nil || c.Sealer == nil || c.Now == nil {
		return nil, errors.New("audit: the configuration isn't complete")
	}
	l := &Log{config: c, turn: make(chan struct{}, 1)}
	count, err := l.count(ctx)
	if err != nil {
		return nil, err
	}
	// Two entries are enough to check the last link.
	for l.next = max(count, 2) - 2; l.next < count; {
		if _, err := l.load(ctx, l.next == 0 || l.next == count-1); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// count lists all names and demands that they are those of entries 0, 1, 2...
func (l *Log) count(ctx context.Context) (uint64, error) {
	next, after := uint64(0), ""
	for {
		names, err := l.config.Objects.List(ctx, prefix, after, pageSize)
		if err != nil {
			return 0, fmt.Errorf("audit: list of entries: %w", err)
		}
		if len(names) == 0 {
			return next, nil
		}
		for _, name := range names {
			if name != entryName(next) {
				return 0, fmt.Errorf("%w: entry %d is missing", ErrCorrupt, next)
			}
			next++
		}
		after = names[len(names)-1]
	}
}

// load reads the next entry and makes it the newest. linked demands that it
// holds the hash of the one before.
func (l *Log) load(ctx context.Context, linked bool) (*stored, error) {
	number := l.next
	sealed, err := l.config.Objects.Get(ctx, entryName(number))
	if err != nil {
		return nil, fmt.Errorf("audit: entry %d: %w", number, err)
	}
	s, err := l.read(number, sealed)
	if err != nil {
		return nil, err
	}
	if linked && s.Previous != l.hash {
		return nil, fmt.Errorf("%w: entry %d", ErrCorrupt, number)
	}
	l.advance(sealed, s.Time)
	return s, nil
}

// Walk reads every entry up to the newest, in order, checks the whole chain and
// gives each to visit, whose error ends it. ErrCorrupt says where the chain
// isn't one.
func (l *Log) Walk(ctx context.Context, visit func(Record) error) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	end, hash := l.next, l.hash
	l.end()
	walker := &Log{config: l.config}
	for walker.next < end {
		s, err := walker.load(ctx, true)
		if err != nil {
			return err
		}
		r := Record{Number: s.Number, ID: entryID(walker.hash), Time: s.Time, Entry: s.Entry}
		if err := visit(r); err != nil {
			return err
		}
	}
	if walker.hash != hash {
		return fmt.Errorf("%w: entry %d", ErrCorrupt, end)
	}
	return nil
}
