package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sources parses every Go file of the module that isn't a test or generated.
func sources(t *testing.T, visit func(rel string, fset *token.FileSet, file *ast.File, lines int)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (rel == "tools" || rel == "bin" || rel == "test/duckdb" || strings.HasPrefix(d.Name(), ".") && rel != ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") || strings.HasSuffix(rel, ".pb.go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, content, parser.ParseComments)
		if err != nil {
			return err
		}
		visit(rel, fset, file, strings.Count(string(content), "\n"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOneClock bans the machine's clock in the enclave: time there is the
// NSM's signed time plus monotonic time, from enclave/clock.
func TestOneClock(t *testing.T) {
	banned := []string{"Now", "Since", "Until"}
	sources(t, func(rel string, fset *token.FileSet, file *ast.File, _ int) {
		if !strings.HasPrefix(rel, "enclave/") || strings.HasPrefix(rel, "enclave/clock/") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(banned, sel.Sel.Name) {
					t.Errorf("%s uses time.%s: the enclave has one clock, enclave/clock", fset.Position(n.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	})
}

// TestHouseRules holds files under 600 lines, functions under 100, packages
// documented and names meaningful.
func TestHouseRules(t *testing.T) {
	documented := map[string]bool{}
	sources(t, func(rel string, fset *token.FileSet, file *ast.File, lines int) {
		if lines > 600 {
			t.Errorf("%s has %d lines; 600 is the limit", rel, lines)
		}
		dir := filepath.Dir(rel)
		documented[dir] = documented[dir] || file.Doc != nil
		for _, bad := range []string{"util", "utils", "common", "helpers", "types", "misc"} {
			if filepath.Base(dir) == bad || filepath.Base(rel) == bad+".go" {
				t.Errorf("%s: %q says nothing about what is inside", rel, bad)
			}
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > 100 {
				t.Errorf("%s: %s has %d lines; 100 is the limit", rel, fn.Name.Name, n)
			}
			if fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s does work in init", rel)
			}
			if fn.Recv == nil && !fn.Name.IsExported() {
				continue
			}
			if exported(fn) && fn.Doc == nil {
				t.Errorf("%s: %s is exported and undocumented", rel, fn.Name.Name)
			}
		}
		fatal(t, rel, fset, file)
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no documentation", dir)
		}
	}
}

// exported says whether a function can be called from another package.
func exported(fn *ast.FuncDecl) bool {
	if !fn.Name.IsExported() {
		return false
	}
	if fn.Recv == nil {
		return true
	}
	receiver := fn.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	ident, ok := receiver.(*ast.Ident)
	return ok && ident.IsExported()
}

// fatal bans exits outside main packages.
func fatal(t *testing.T, rel string, fset *token.FileSet, file *ast.File) {
	if file.Name.Name == "main" {
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "log" && strings.HasPrefix(sel.Sel.Name, "Fatal") || x.Name == "os" && sel.Sel.Name == "Exit") {
				t.Errorf("%s: only main may end the process", fset.Position(n.Pos()))
			}
		}
		return true
	})
}
