package sql

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The codes of refusals: PQ1xx is about syntax and size, PQ2xx about what the
// dialect doesn't do, PQ3xx about rights to tables and columns, PQ4xx about
// privacy parameters.
const (
	codeSyntax        = "PQ100_SYNTAX"
	codeEncoding      = "PQ101_ENCODING"
	codeTooLarge      = "PQ102_TOO_LARGE"
	codeDuplicateName = "PQ103_DUPLICATE_NAME"
	codeNotAggregated = "PQ201_NOT_AGGREGATED"
	codeAggregate     = "PQ202_AGGREGATE_NOT_ALLOWED"
	codeDistinct      = "PQ203_DISTINCT"
	codeRestricted    = "PQ203_COLUMN_RESTRICTED"
	codeInAggregate   = "PQ204_EXPR_IN_AGGREGATE"
	codeExpression    = "PQ205_EXPR_NOT_ALLOWED"
	codePredicate     = "PQ206_PREDICATE_SHAPE"
	codeHaving        = "PQ206H_HAVING"
	codeSubquery      = "PQ207_SUBQUERY"
	codeJoin          = "PQ208_JOIN_UNIT_REQUIRED"
	codeClause        = "PQ209_CLAUSE_NOT_ALLOWED"
	codeStatement     = "PQ210_STATEMENT_NOT_ALLOWED"
	codeSnapshot      = "PQ211_SNAPSHOT"
	codeNotAvailable  = "PQ212_NOT_AVAILABLE"
	codeRole          = "PQ301_COLUMN_ROLE"
	codeTable         = "PQ302_NO_SUCH_TABLE"
	codeParameter     = "PQ401_PRIVACY_PARAM"
)

// maxViolations bounds a refusal, which travels in a header.
const maxViolations = 16

// Violation is one reason why a query is refused. Its texts are constant words
// and names from the caller's visible catalogue; nothing of the query's text
// is repeated.
type Violation struct {
	// Code is the number, such as PQ208; Name the words, such as
	// JOIN_UNIT_REQUIRED.
	Code, Name string
	// Offset and Length say where in the query's text, in bytes. Both are zero
	// for what is about the whole query.
	Offset, Length int
	// Message says what is wrong, Fix what to do. Neither ends with a full stop.
	Message, Fix string
}

// String is the violation as people read it.
func (v Violation) String() string {
	at := ""
	if v.Length > 0 {
		at = fmt.Sprintf(" at %d..%d", v.Offset, v.Offset+v.Length)
	}
	return fmt.Sprintf("%s_%s%s: %s. Fix: %s. No budget was charged.", v.Code, v.Name, at, v.Message, v.Fix)
}

// Metadata is the violation as programs read it: offset, length and fix.
func (v Violation) Metadata() map[string]string {
	return map[string]string{"offset": strconv.Itoa(v.Offset), "length": strconv.Itoa(v.Length), "fix": v.Fix}
}

// Refusal is the error of a query that wasn't run: no data was read and no
// budget was charged. It is a function of the query's text and the visible
// catalogue alone.
type Refusal struct {
	// Dataset is the one that the query names, or empty when the catalogue has
	// none of that name.
	Dataset string
	// Violations are all that were found, in the order of the text, at most 16.
	Violations []Violation
}

// Error gives one line for each violation.
func (r *Refusal) Error() string {
	lines := make([]string, len(r.Violations))
	for i, v := range r.Violations {
		lines[i] = v.String()
	}
	return strings.Join(lines, "\n")
}

// phrase is the text of a message or fix: constant words, in one case with names
// from the catalogue. It is a type of its own so that nothing of a query's text
// becomes a part of one by mistake.
type phrase string

// span is a piece of the query's text, in bytes.
type span struct{ from, to int }

// through answers the span from the beginning of s to the end of t.
func (s span) through(t span) span { return span{s.from, max(s.to, t.to)} }

// reasons collects violations: the first ones in the order of the text, as
// many as a refusal holds, so that a long list of mistakes costs no more.
type reasons struct{ found []Violation }

// refuse notes a violation. code is one of the constants above.
func (r *reasons) refuse(code string, at span, message, fix phrase) {
	number, name, _ := strings.Cut(code, "_")
	v := Violation{Code: number, Name: name, Offset: at.from, Length: at.to - at.from, Message: string(message), Fix: string(fix)}
	if slices.Contains(r.found, v) {
		return
	}
	r.found = append(r.found, v)
	slices.SortStableFunc(r.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Code, b.Code))
	})
	r.found = r.found[:min(len(r.found), maxViolations)]
}

// refusal answers nil when nothing was found.
func (r *reasons) refusal(dataset string) error {
	if len(r.found) == 0 {
		return nil
	}
	return &Refusal{Dataset: dataset, Violations: r.found}
}

// Refuse makes the refusal of a later step, about the whole query. code is
// number and name, such as PQ404_MODE_NOT_AVAILABLE; message and fix are
// constant words without a full stop; dataset is the catalogue's name of it.
func Refuse(dataset, code, message, fix string) *Refusal {
	var r reasons
	r.refuse(code, span{}, phrase(message), phrase(fix))
	return &Refusal{Dataset: dataset, Violations: r.found}
}
