// Package exposition reads Prometheus's text format, more strictly than
// Prometheus does, so that a scrape that it takes is one that everybody takes.
// It is linked by tests alone.
package exposition

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sample is one line.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Family is all samples of one metric.
type Family struct {
	Name, Help, Type string
	Samples          []Sample
}

// Scrape is a parsed text, by the names of its families.
type Scrape map[string]*Family

// Value answers the sample with this name and these labels, given as name,
// value, name, value.
func (s Scrape) Value(name string, labels ...string) (float64, bool) {
	want := map[string]string{}
	for i := 0; i+1 < len(labels); i += 2 {
		want[labels[i]] = labels[i+1]
	}
	for _, f := range s {
		for _, sample := range f.Samples {
			if sample.Name == name && maps.Equal(sample.Labels, want) {
				return sample.Value, true
			}
		}
	}
	return 0, false
}

var (
	metricName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	labelPair  = regexp.MustCompile(`^([a-z][a-z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)`)
)

// Parse reads a whole scrape: for each family HELP, TYPE and its samples, every
// family and every series once, counters named so, histograms that add up.
func Parse(text string) (Scrape, error) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, errors.New("the last line doesn't end")
	}
	all := Scrape{}
	var f *Family
	for i, line := range slices.Collect(strings.Lines(text)) {
		var err error
		if f, err = all.line(f, strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", i+1, line, err)
		}
	}
	for _, f := range all {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return all, nil
}

// line takes one line and answers the family that the next one may belong to.
func (s Scrape) line(f *Family, line string) (*Family, error) {
	if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
		name, help, ok := strings.Cut(rest, " ")
		if !ok || help == "" || !metricName.MatchString(name) || s[name] != nil {
			return nil, errors.New("not the help of a new family")
		}
		s[name] = &Family{Name: name, Help: help}
		return s[name], nil
	}
	if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
		name, kind, _ := strings.Cut(rest, " ")
		if f == nil || f.Name != name || f.Type != "" || !slices.Contains([]string{"counter", "gauge", "histogram"}, kind) {
			return nil, errors.New("not the type of the family before")
		}
		f.Type = kind
		return f, nil
	}
	sample, err := parseSample(line)
	if err != nil {
		return nil, err
	}
	if f == nil || f.Type == "" || !f.owns(sample.Name) {
		return nil, errors.New("a sample outside its family")
	}
	f.Samples = append(f.Samples, sample)
	return f, nil
}

// owns says whether a sample's name is the family's.
func (f *Family) owns(name string) bool {
	if f.Type != "histogram" {
		return name == f.Name
	}
	return slices.Contains([]string{f.Name + "_bucket", f.Name + "_sum", f.Name + "_count"}, name)
}

func parseSample(line string) (Sample, error) {
	s := Sample{Labels: map[string]string{}}
	end := strings.IndexAny(line, "{ ")
	if end < 0 || !metricName.MatchString(line[:end]) {
		return s, errors.New("not a sample")
	}
	s.Name = line[:end]
	rest := line[end:]
	if rest[0] == '{' {
		for rest = rest[1:]; ; {
			stop := strings.HasPrefix(rest, "}")
			if stop {
				rest = rest[1:]
				break
			}
			m := labelPair.FindStringSubmatch(beforeBrace(rest))
			if m == nil {
				return s, errors.New("not a label")
			}
			if _, twice := s.Labels[m[1]]; twice {
				return s, errors.New("a label twice")
			}
			s.Labels[m[1]] = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\"`, `"`).Replace(m[2])
			rest = rest[len(m[0]):]
		}
	}
	value, err := strconv.ParseFloat(strings.TrimPrefix(rest, " "), 64)
	if !strings.HasPrefix(rest, " ") || err != nil {
		return s, errors.New("not a value")
	}
	s.Value = value
	return s, nil
}

// beforeBrace cuts the text at the brace that closes the labels.
func beforeBrace(rest string) string {
	quoted := false
	for i := 0; i < len(rest); i++ {
		switch {
		case rest[i] == '\\':
			i++
		case rest[i] == '"':
			quoted = !quoted
		case rest[i] == '}' && !quoted:
			return rest[:i]
		}
	}
	return rest
}

// check judges a family as a whole.
func (f *Family) check() error {
	if f.Type == "" {
		return errors.New("no type")
	}
	if f.Type == "counter" != strings.HasSuffix(f.Name, "_total") {
		return errors.New("a counter's name ends in _total, and no other")
	}
	seen := map[string]bool{}
	for _, s := range f.Samples {
		key := s.Name + fmt.Sprint(s.Labels)
		if seen[key] {
			return fmt.Errorf("the series %v twice", s.Labels)
		}
		seen[key] = true
		if f.Type == "counter" && (s.Value < 0 || s.Value != math.Trunc(s.Value)) {
			return fmt.Errorf("%v isn't a count", s.Value)
		}
	}
	if f.Type == "histogram" {
		return f.checkHistogram()
	}
	return nil
}

// checkHistogram demands that buckets ascend and end with the count.
func (f *Family) checkHistogram() error {
	last, bound := map[string]float64{}, map[string]float64{}
	for _, s := range f.Samples {
		labels := maps.Clone(s.Labels)
		delete(labels, "le")
		key := fmt.Sprint(labels)
		switch s.Name {
		case f.Name + "_bucket":
			le, err := strconv.ParseFloat(s.Labels["le"], 64)
			before, later := bound[key]
			if err != nil || later && le <= before || s.Value < last[key] {
				return fmt.Errorf("buckets of %v don't ascend", labels)
			}
			last[key], bound[key] = s.Value, le
		case f.Name + "_count":
			if !math.IsInf(bound[key], 1) || s.Value != last[key] {
				return fmt.Errorf("the count of %v isn't its last bucket", labels)
			}
		}
	}
	return nil
}
