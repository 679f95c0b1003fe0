package exec

import (
	"context"
	"slices"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

const (
	// MaxLookupRows is how many rows a Lookup has at most.
	MaxLookupRows = 64 << 10
	// maxLookupBytes bounds the texts of its keys and labels, in bytes.
	maxLookupBytes = 4 << 20
	// mapEntry is about what an entry of a Go map of integers takes, in bytes.
	mapEntry = 48
)

// LookupRow is one row of a public table: a value of a dimension, and its
// label. A NULL label is one.
type LookupRow struct {
	Key   contract.Value
	Label contract.Value
}

// Lookup is a small public table that is joined to a plan's key: groups are
// those of the labels. Public means that everybody may know it; it says nothing
// of people, and no value of theirs is in it.
type Lookup struct {
	field int
	outer bool
	texts []contract.Value  // the different labels
	byInt map[int64]uint32  // the place of a key's label in texts
	byTxt map[string]uint32 // the same for keys of text
	size  int64             // bytes
}

// NewLookup makes a table for a field's values. With outer, values that aren't
// in it get the label NULL; without, their rows don't count. NULL is in no
// table. It answers ErrPlan when a key stands twice or is NULL, and for a table
// over its bounds.
func NewLookup(field int, text, outer bool, rows []LookupRow) (*Lookup, error) {
	if len(rows) > MaxLookupRows {
		return nil, ErrPlan
	}
	l := &Lookup{field: field, outer: outer}
	if text {
		l.byTxt = make(map[string]uint32, len(rows))
	} else {
		l.byInt = make(map[int64]uint32, len(rows))
	}
	places := map[contract.Value]uint32{}
	texts := 0
	for _, r := range rows {
		texts += len(r.Key.Text) + len(r.Label.Text)
		if r.Key.Null || texts > maxLookupBytes {
			return nil, ErrPlan
		}
		label := contract.Value{Null: r.Label.Null}
		if !label.Null {
			label.Text = r.Label.Text
		}
		place, known := places[label]
		if !known {
			place = uint32(len(l.texts))
			places[label] = place
			l.texts = append(l.texts, label)
		}
		if !l.put(r.Key, place) {
			return nil, ErrPlan
		}
	}
	l.size = int64(texts) + 2*mapEntry*int64(len(rows))
	return l, nil
}

// put adds a key, unless it is there.
func (l *Lookup) put(key contract.Value, place uint32) bool {
	if l.byTxt != nil {
		_, there := l.byTxt[key.Text]
		l.byTxt[key.Text] = place
		return !there
	}
	_, there := l.byInt[key.Int]
	l.byInt[key.Int] = place
	return !there
}

// fit says whether the field is a key of a plan, and of the table's type.
func (l *Lookup) fit(p *sql.Plan) bool {
	if !slices.Contains(p.Keys(), l.field) {
		return false
	}
	f := &p.Contract().Fields[l.field]
	return f.Role == contract.Dimension && (f.Type == contract.String) == (l.byTxt != nil)
}

// labels is a Lookup over a snapshot.
type labels struct {
	texts  []contract.Value
	byInt  map[int64]uint32
	byCode []uint32 // of a text column, the label's place
	// none is the label of what isn't there; only an outer join has one.
	none uint32
}

// value answers a label.
func (l *labels) value(place uint64) contract.Value {
	if place >= uint64(len(l.texts)) {
		return contract.Value{Null: true} // a table without rows
	}
	return l.texts[place]
}

// resolve looks every text of a dictionary up once, so that a row costs a look
// at its code. The filter takes out rows without a label; it is nil when they
// stay.
func (l *Lookup) resolve(ctx context.Context, b *budget, snap *table.Snapshot) (*labels, *filter, error) {
	if err := b.take(l.size); err != nil {
		return nil, nil, err
	}
	out := &labels{texts: l.texts, byInt: l.byInt}
	if l.outer {
		place := slices.IndexFunc(l.texts, func(v contract.Value) bool { return v.Null })
		if place < 0 {
			place = len(l.texts)
			out.texts = append(slices.Clone(l.texts), contract.Value{Null: true})
		}
		out.none = uint32(place)
	}
	if l.byTxt == nil {
		if l.outer {
			return out, nil, nil
		}
		f := &filter{field: l.field}
		for key := range l.byInt {
			f.values = append(f.values, interval{key, key})
		}
		f.values = join(f.values)
		return out, f, nil
	}
	return l.resolveTexts(ctx, b, snap, out)
}

func (l *Lookup) resolveTexts(ctx context.Context, b *budget, snap *table.Snapshot, out *labels) (*labels, *filter, error) {
	texts := snap.Texts(l.field)
	var err error
	if out.byCode, err = allocate[uint32](b, texts.Len()); err != nil {
		return nil, nil, err
	}
	pass, err := allocate[bool](b, texts.Len())
	if err != nil {
		return nil, nil, err
	}
	for code := range out.byCode {
		if code%stride == 0 {
			if err := ended(ctx); err != nil {
				return nil, nil, err
			}
		}
		place, there := l.byTxt[string(texts.At(code))]
		if !there {
			place = out.none
		}
		out.byCode[code], pass[code] = place, there
	}
	if l.outer {
		return out, nil, nil
	}
	return out, &filter{field: l.field, pass: pass}, nil
}

// numberKey adds what a digit contributes to the numbers of a part's rows. room
// is for values, and nulls for the places of NULLs.
func numberKey[T uint32 | uint64](d *digit, p *part, to []T, room []int64, nulls []uint16) {
	if d.labels == nil {
		number(d, p, to, nulls)
		return
	}
	piece := p.span.Column(d.field)
	clear(room)
	table.Add(&piece, p.rows, room, piece.Base, int64(piece.Step))
	nullable := piece.Nullable()
	for i := range to {
		place := d.labels.none
		switch {
		case nullable && piece.Null(p.row(i)):
		case d.labels.byCode != nil:
			place = d.labels.byCode[room[i]]
		default:
			if found, ok := d.labels.byInt[room[i]]; ok {
				place = found
			}
		}
		to[i] += T(uint64(place) * d.stride)
	}
}
