package limits_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/limits"
)

// values are all limits by name: sizes and numbers as they are, times in
// nanoseconds.
var values = map[string]int64{
	"Envelope": limits.Envelope, "EnvelopeHeader": limits.EnvelopeHeader, "BatchRows": limits.BatchRows, "Columns": limits.Columns, "Cells": limits.Cells, "Text": limits.Text,
	"Bundle": limits.Bundle, "Object": limits.Object, "ObjectName": limits.ObjectName, "Message": limits.Message, "Query": limits.Query,
	"Token": limits.Token, "EvidenceRequest": limits.EvidenceRequest, "Evidence": limits.Evidence, "Document": limits.Document,
	"Streams": limits.Streams, "GatewayConnections": limits.GatewayConnections, "GatewaySubmits": limits.GatewaySubmits,
	"GatewayReceiving": limits.GatewayReceiving, "GatewayBytes": limits.GatewayBytes, "GatewayLookups": limits.GatewayLookups,
	"GatewayProbes": limits.GatewayProbes, "GatewaySends": limits.GatewaySends, "IntakeConnections": limits.IntakeConnections,
	"IntakeEnvelopes": limits.IntakeEnvelopes, "IntakeOpening": limits.IntakeOpening, "IntakeBytes": limits.IntakeBytes, "IntakeProbes": limits.IntakeProbes,
	"AttestedConnections": limits.AttestedConnections, "AttestedRequests": limits.AttestedRequests,
	"AttestedRequestsPerPrincipal": limits.AttestedRequestsPerPrincipal, "Exchanges": limits.Exchanges, "Attesting": limits.Attesting,
	"Queries": limits.Queries, "QueriesPerPrincipal": limits.QueriesPerPrincipal, "QueriesWaiting": limits.QueriesWaiting,
	"QueriesWaitingPerPrincipal": limits.QueriesWaitingPerPrincipal, "QueryMemoryShare": limits.QueryMemoryShare,
	"RelayConnections": limits.RelayConnections, "EgressConnections": limits.EgressConnections, "HostConnections": limits.HostConnections,
	"HostRequests": limits.HostRequests, "Heartbeats": limits.Heartbeats, "AdminConnections": limits.AdminConnections,
	"GatewayReceive": int64(limits.GatewayReceive), "Reading": int64(limits.Reading), "IntakeWait": int64(limits.IntakeWait),
	"QueryWait": int64(limits.QueryWait), "Retry": int64(limits.Retry),
}

// names answers the constants of the package.
func names(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			constants, ok := decl.(*ast.GenDecl)
			if !ok || constants.Tok != token.CONST {
				continue
			}
			for _, spec := range constants.Specs {
				for _, n := range spec.(*ast.ValueSpec).Names {
					all = append(all, n.Name)
				}
			}
		}
	}
	return all
}

var (
	row      = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]+) \\|")
	quantity = regexp.MustCompile(`^([0-9.]+)(?: (KiB|MiB|s|min))?$`)
)

// read answers the number of a cell.
func read(t *testing.T, cell string) int64 {
	t.Helper()
	m := quantity.FindStringSubmatch(strings.TrimSpace(cell))
	if m == nil {
		t.Fatalf("%q isn't a value", cell)
	}
	number, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	unit := map[string]float64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "s": float64(time.Second), "min": float64(time.Minute)}[m[2]]
	return int64(number * unit)
}

// TestDocumented: docs/spec/limits.md has one row for each limit, with its value.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "limits.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s has two rows", m[1])
		}
		rows[m[1]] = m[2]
	}
	all := names(t)
	for _, name := range all {
		value, known := values[name]
		if !known {
			t.Errorf("this test doesn't know %s", name)
		}
		cell, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row", name)
			continue
		}
		if got := read(t, cell); got != value {
			t.Errorf("%s: the page says %s, the code %d", name, cell, value)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s has a row and doesn't exist", name)
	}
	if len(all) != len(values) {
		t.Errorf("%d limits, and %d in this test", len(all), len(values))
	}
}

// TestFit: limits that stand in a relation do.
func TestFit(t *testing.T) {
	for what, fits := range map[string]bool{
		"an envelope fits into a message":                     limits.Envelope < limits.Message,
		"an envelope fits into an object":                     limits.Envelope <= limits.Object,
		"a bundle and a document fit into evidence":           limits.Bundle+limits.Document < limits.Evidence,
		"a text fits into an envelope":                        limits.Text < limits.Envelope,
		"the largest envelope can be opened":                  limits.Envelope <= limits.IntakeBytes,
		"the largest envelope can be held":                    limits.Envelope <= limits.GatewayBytes,
		"what the gateway sends the intake takes":             limits.GatewaySends < limits.IntakeEnvelopes,
		"an envelope's turn comes before its producer leaves": limits.IntakeWait < 10*time.Second,
		"one analyst can't have all queries":                  limits.QueriesPerPrincipal < limits.Queries && limits.QueriesWaitingPerPrincipal < limits.QueriesWaiting,
		"one analyst can't have all requests":                 limits.AttestedRequestsPerPrincipal < limits.AttestedRequests,
		"queries can wait while they are requests":            limits.Queries+limits.QueriesWaiting < limits.AttestedRequests,
	} {
		if !fits {
			t.Errorf("it isn't so that %s", what)
		}
	}
}
