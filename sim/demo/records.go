package demo

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxSmall bounds files that the demo reads whole, in bytes.
const maxSmall = 64 << 20

// records is the demo's own view of the input, to compare answers with: one
// row a person.
type records struct {
	people int
	header []string
	rows   [][]string
}

// readRecords reads a CSV file of the data directory.
func readRecords(path string) (*records, error) {
	b, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	all, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || len(all) < 2 {
		return nil, fmt.Errorf("demo: %s isn't a CSV file with records", path)
	}
	return &records{people: len(all) - 1, header: all[0], rows: all[1:]}, nil
}

// addAccepted adds the rows of another file but those with the given numbers.
func (r *records) addAccepted(path string, bad map[int]bool) error {
	more, err := readRecords(path)
	if err != nil {
		return err
	}
	for i, row := range more.rows {
		if !bad[i] {
			r.rows = append(r.rows, row)
			r.people++
		}
	}
	return nil
}

// groups counts people by the value of a column.
func (r *records) groups(column string) map[string]int {
	at := slices.Index(r.header, column)
	out := map[string]int{}
	for _, row := range r.rows {
		out[row[at]]++
	}
	return out
}

// anyWord looks for values of the longer text columns in stored bytes.
func (r *records) anyWord(content []byte) (string, bool) {
	for word := range r.groups("chapter") {
		if len(word) >= 5 && bytes.Contains(bytes.ToLower(content), []byte(strings.ToLower(word))) {
			return word, true
		}
	}
	return "", false
}

// readSmall reads a file of at most maxSmall bytes.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return b, nil
}
