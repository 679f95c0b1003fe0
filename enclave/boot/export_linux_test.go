package boot

// Mount point, kind and flags of what PID 1 mounts, in order.
type Mounted struct {
	Kind, At string
	Flags    uintptr
}

// Mounts answers the plan.
func Mounts() (plan []Mounted) {
	for _, m := range mounts() {
		plan = append(plan, Mounted{m.kind, m.at, m.flags})
	}
	return plan
}

// Make makes a setting in a file.
func Make(file, value string) error { return setting{file: file, value: value}.make() }

// Settings answers the files of settings with their values, and which may be
// missing.
func Settings() (values map[string]string, optional map[string]bool) {
	values, optional = map[string]string{}, map[string]bool{}
	for _, s := range settings() {
		values[s.file], optional[s.file] = s.value, s.optional
	}
	return values, optional
}
