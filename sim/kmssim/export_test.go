package kmssim

// ParsePolicy says whether a policy is taken, and what it says of a request
// without attributes.
func ParsePolicy(text []byte, principal, action, resource string) (allows bool, err error) {
	p, err := parsePolicy(text)
	if err != nil {
		return false, err
	}
	return evaluate(p, question{principal: principal, action: action, resource: resource, attributes: attributes{}}) == allowed, nil
}
