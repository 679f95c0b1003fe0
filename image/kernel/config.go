package kernel

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// maxConfig is the largest configuration that is read, in bytes.
const maxConfig = 4 << 20

// options reads a configuration in the kernel's form: CONFIG_NAME=value, and
// "# CONFIG_NAME is not set", which is the value n. Other lines are comments. A
// name that stands twice, or a line in another form, is an error that wraps
// ErrConfig.
func options(b []byte) (map[string]string, error) {
	found := map[string]string{}
	for i, line := range strings.Split(string(b), "\n") {
		name, value, ok := option(line)
		switch {
		case !ok && (line == "" || strings.HasPrefix(line, "#")):
			continue
		case !ok:
			return nil, fmt.Errorf("%w: line %d is neither an option nor a comment", ErrConfig, i+1)
		case found[name] != "":
			return nil, fmt.Errorf("%w: line %d: %s stands twice", ErrConfig, i+1, name)
		}
		found[name] = value
	}
	return found, nil
}

// option reads one line.
func option(line string) (name, value string, ok bool) {
	if off, is := strings.CutSuffix(line, " is not set"); is {
		name, ok = strings.CutPrefix(off, "# CONFIG_")
		return name, "n", ok && isName(name)
	}
	set, is := strings.CutPrefix(line, "CONFIG_")
	if !is {
		return "", "", false
	}
	name, value, ok = strings.Cut(set, "=")
	return name, value, ok && value != "" && value != "n" && isName(name)
}

func isName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_'
	})
}

// honoured demands that a finished configuration has every option as it was
// asked for. Make's own tools drop what they can't take over without an error,
// and an option with a new name would silently be off.
func honoured(asked, finished []byte) error {
	want, err := options(asked)
	if err != nil {
		return err
	}
	got, err := options(finished)
	if err != nil {
		return err
	}
	var lost []string
	for name, value := range want {
		have := got[name]
		if have == "" {
			have = "n" // an option whose place in the tree is off isn't written at all
		}
		if have != value {
			lost = append(lost, fmt.Sprintf("%s is %s, not %s", name, have, value))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	slices.Sort(lost)
	return fmt.Errorf("%w: %s", ErrConfig, strings.Join(lost, "; "))
}

// joined is a configuration with options put over it. The kernel's own reader
// lets the last line win, with a warning.
func joined(base, over []byte) ([]byte, error) {
	want, err := options(over)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for line := range strings.SplitSeq(string(base), "\n") {
		if name, _, ok := option(line); ok && want[name] != "" {
			continue
		}
		fmt.Fprintln(&out, line)
	}
	out.Write(over)
	return out.Bytes(), nil
}
