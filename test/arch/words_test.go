package arch_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// attributes are all that the parent's log may say beside its constant
// messages: sizes, counts, outcomes, the parent's own places, and the beginning
// of a ciphertext's digest.
var attributes = []string{
	"address", "bytes_in", "bytes_out", "code", "count", "digest", "duration", "error", "name", "object", "open", "operation", "outcome", "part", "phase",
	"reason", "size", "times",
}

// constructors make attributes.
var constructors = []string{"slog.Any", "slog.Bool", "slog.Duration", "slog.Float64", "slog.Group", "slog.Int", "slog.Int64", "slog.String", "slog.Time", "slog.Uint64"}

// logged says whether a call is one of a logger's, by the names that loggers
// have here.
func logged(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "Log", "LogAttrs"}, sel.Sel.Name) {
		return false
	}
	switch x := sel.X.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "Log" || x.Name == "slog"
	case *ast.SelectorExpr:
		return x.Sel.Name == "Log" || x.Sel.Name == "log"
	}
	return false
}

// word answers the text of a constant string.
func word(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// TestLog: the parent's log has constant messages that begin with their
// package, and attributes of the list.
func TestLog(t *testing.T) {
	messages := 0
	sources(t, func(rel string, fset *token.FileSet, file *ast.File, _ int) {
		if !strings.HasPrefix(rel, "parent/") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if slices.Contains(constructors, called(call)) {
				if key, ok := word(call.Args[0]); !ok || !slices.Contains(attributes, key) {
					t.Errorf("%s: not an attribute of the list", fset.Position(call.Pos()))
				}
			}
			if !logged(call) {
				return true
			}
			messages++
			if message, ok := word(call.Args[0]); !ok || !strings.HasPrefix(message, file.Name.Name+": ") {
				t.Errorf("%s: the message isn't a constant that begins with its package", fset.Position(call.Pos()))
			}
			for _, arg := range call.Args[1:] {
				if !attribute(arg) && call.Ellipsis == token.NoPos {
					t.Errorf("%s: an argument that isn't an attribute", fset.Position(arg.Pos()))
				}
			}
			return true
		})
	})
	if messages < 20 {
		t.Errorf("only %d messages were found", messages)
	}
}

// attribute says whether an argument is a call of slog's, or of a method that
// makes an attribute.
func attribute(arg ast.Expr) bool {
	call, ok := arg.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == "slog" || sel.Sel.Name == "attr"
}

// TestConsole: the enclave has no log, writes to no console, and says nothing
// but its phrases, which nothing can be put into.
func TestConsole(t *testing.T) {
	said := 0
	sources(t, func(rel string, fset *token.FileSet, file *ast.File, _ int) {
		if !strings.HasPrefix(rel, "enclave/") && !strings.HasPrefix(rel, "cmd/cloister-enclave/") {
			return
		}
		for _, i := range file.Imports {
			if i.Path.Value == `"log"` || i.Path.Value == `"log/slog"` {
				t.Errorf("%s: the enclave has no log", fset.Position(i.Pos()))
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch name := called(call); {
			case name == "print" || name == "println":
				t.Errorf("%s writes to the console", fset.Position(call.Pos()))
			case strings.HasPrefix(name, "fmt.Print") && !strings.HasPrefix(rel, "cmd/"):
				t.Errorf("%s writes to the console", fset.Position(call.Pos()))
			case name == "Phrase" || name == "enclave.Phrase":
				t.Errorf("%s makes a phrase out of something", fset.Position(call.Pos()))
			case strings.HasSuffix(name, ".Say") || name == "say":
				said++
				if !phrase(call.Args[0]) {
					t.Errorf("%s says something else than a phrase", fset.Position(call.Pos()))
				}
			}
			return true
		})
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && (sel.Sel.Name == "Stdout" || sel.Sel.Name == "Stderr") {
				t.Errorf("%s has the console", fset.Position(sel.Pos()))
			}
			return true
		})
	})
	if said < 5 {
		t.Errorf("only %d phrases were found", said)
	}
}

// called answers the name of the function that a call calls.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		switch x := f.X.(type) {
		case *ast.Ident:
			return x.Name + "." + f.Sel.Name
		case *ast.SelectorExpr:
			return x.Sel.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// phrase says whether an argument is a constant phrase, the phrase for an
// error, or the caller's own phrase.
func phrase(arg ast.Expr) bool {
	switch a := arg.(type) {
	case *ast.Ident:
		return strings.HasPrefix(a.Name, "Say") || a.Name == "phrase"
	case *ast.SelectorExpr:
		return strings.HasPrefix(a.Sel.Name, "Say")
	case *ast.CallExpr:
		name := called(a)
		return name == "Because" || name == "enclave.Because"
	}
	return false
}
