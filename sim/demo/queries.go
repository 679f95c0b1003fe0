package demo

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
)

// The queries of the demo.
const (
	bySex     = "SELECT sex, COUNT(*) AS n, AVG(age) AS age, AVG(kappa) AS kappa FROM flchain GROUP BY sex"
	byGroup   = "SELECT flc_grp, COUNT(DISTINCT id) AS people, AVG(futime) AS days FROM flchain WHERE death = 1 GROUP BY flc_grp"
	byChapter = "SELECT chapter, COUNT(DISTINCT id) AS people FROM flchain GROUP BY chapter"
	onePerson = "SELECT id, age FROM flchain WHERE chapter = 'Congenital'"
)

func (d *demo) query(ctx context.Context) error {
	out, err := d.cloister(ctx, 0, "query", bySex, "-o", "table")
	if err != nil {
		return err
	}
	d.answer = out
	rows, err := d.rows(ctx, bySex)
	if err != nil {
		return err
	}
	if err := d.compare(rows, "sex"); err != nil {
		return err
	}
	_, err = d.cloister(ctx, 0, "query", byGroup, "-o", "table")
	return err
}

func (d *demo) suppressed(ctx context.Context) error {
	if _, err := d.cloister(ctx, 0, "query", byChapter, "-o", "table"); err != nil {
		return err
	}
	rows, err := d.rows(ctx, byChapter)
	if err != nil {
		return err
	}
	if err := d.compare(rows, "chapter"); err != nil {
		return err
	}
	var small []string
	for name, people := range d.facts.groups("chapter") {
		if people < contract.DefaultFloor {
			small = append(small, fmt.Sprintf("%s (%d)", name, people))
		}
	}
	slices.Sort(small)
	d.sayf("in the file, and absent above: %s", strings.Join(small, ", "))
	return nil
}

func (d *demo) refused(ctx context.Context) error {
	_, err := d.cloister(ctx, 1, "query", onePerson)
	return err
}

// rows runs a query again for its rows, without showing it.
func (d *demo) rows(ctx context.Context, query string) (map[string]int, error) {
	stdout, _, err := d.run1(ctx, 0, "query", query, "-o", "csv")
	if err != nil {
		return nil, err
	}
	all, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil || len(all) < 2 {
		return nil, errors.New("the answer isn't CSV with rows")
	}
	out := map[string]int{}
	for _, row := range all[1:] {
		if out[row[0]], err = strconv.Atoi(row[1]); err != nil {
			return nil, errors.New("the answer's second column isn't a count")
		}
	}
	return out, nil
}

// compare holds an answer against the demo's own count of the input: exactly
// the groups of ten people and more, each with its true size.
func (d *demo) compare(got map[string]int, column string) error {
	shown := 0
	for name, people := range d.facts.groups(column) {
		n, ok := got[name]
		switch {
		case people < contract.DefaultFloor && ok:
			return fmt.Errorf("a group of %d people is shown", people)
		case people >= contract.DefaultFloor && n != people:
			return fmt.Errorf("a group of %s has %d people, the answer says %d", column, people, n)
		case ok:
			shown++
		}
	}
	if shown != len(got) {
		return errors.New("the answer has a group that the input doesn't have")
	}
	return nil
}
