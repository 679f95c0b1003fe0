package exposition_test

import (
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/test/exposition"
)

const good = `# HELP a_total Things, "so called".
# TYPE a_total counter
a_total{x="1",y="a\"b\\c\nd}"} 3
a_total{x="2",y=""} 0
# HELP b A gauge.
# TYPE b gauge
b -1.5e-07
# HELP h A histogram.
# TYPE h histogram
h_bucket{le="0.1"} 1
h_bucket{le="+Inf"} 3
h_sum 4.5
h_count 3
`

func TestParse(t *testing.T) {
	s, err := exposition.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{3, "a_total", []string{"x", "1", "y", "a\"b\\c\nd}"}}, {0, "a_total", []string{"x", "2", "y", ""}},
		{-1.5e-07, "b", nil}, {3, "h_bucket", []string{"le", "+Inf"}}, {4.5, "h_sum", nil},
	} {
		if got, ok := s.Value(c.name, c.labels...); !ok || got != c.want {
			t.Errorf("%s %v: %v, %v", c.name, c.labels, got, ok)
		}
	}
	if _, ok := s.Value("a_total"); ok {
		t.Error("a series without its labels was found")
	}
	if s, err := exposition.Parse(""); err != nil || len(s) != 0 {
		t.Errorf("nothing: %v, %v", s, err)
	}
}

// TestRefuses changes the good text in one place each.
func TestRefuses(t *testing.T) {
	for name, c := range map[string][2]string{
		"no end":             {"h_count 3\n", "h_count 3"},
		"no help":            {"# HELP b A gauge.\n", ""},
		"no type":            {"# TYPE b gauge\n", ""},
		"another type":       {"b gauge", "b thing"},
		"a family twice":     {"# HELP b", "# HELP a_total x\n# HELP b"},
		"a foreign sample":   {"b -1.5e-07", "c 1"},
		"a series twice":     {"b -1.5e-07", "b 1\nb 2"},
		"a label twice":      {`x="1",`, `x="1",x="1",`},
		"a bad escape":       {`a\"b`, `a\tb`},
		"an open quote":      {`y=""}`, `y="}`},
		"a bad name":         {"# HELP b A", "# HELP b-b A"},
		"no value":           {"b -1.5e-07", "b"},
		"a word as value":    {"b -1.5e-07", "b many"},
		"a negative count":   {"} 3\na_", "} -3\na_"},
		"half a count":       {"} 3\na_", "} 2.5\na_"},
		"a counter's name":   {"b gauge", "b counter"},
		"descending buckets": {`{le="0.1"} 1`, `{le="0.1"} 4`},
		"another count":      {"h_count 3", "h_count 2"},
		"no last bucket":     {`le="+Inf"`, `le="7"`},
	} {
		text := strings.Replace(good, c[0], c[1], 1)
		if text == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := exposition.Parse(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
