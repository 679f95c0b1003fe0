package kmssim

import (
	"maps"
	"slices"
	"time"

	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// minWait and maxWait bound PendingWindowInDays.
	minWait, maxWait = 7, 30
	// maxMaterials is how often a key can be rotated on demand.
	maxMaterials = 26
	// maxList is the longest list that a request can ask for.
	maxList = 1000
)

// usable says whether a key may be used, and for this.
func (c *call) usable(usage string) *failure {
	switch {
	case !c.key.deletion.IsZero():
		return refuse("KMSInvalidStateException", "%s is pending deletion.", c.key.arn)
	case c.key.disabled:
		return refuse("DisabledException", "%s is disabled.", c.key.arn)
	case c.key.usage != usage:
		return refuse("InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", c.key.arn, c.key.usage, c.operation)
	}
	return nil
}

func (s *Server) enableKey(c *call, body []byte) (map[string]any, *failure) {
	return s.switchKey(c, body, false)
}

func (s *Server) disableKey(c *call, body []byte) (map[string]any, *failure) {
	return s.switchKey(c, body, true)
}

func (s *Server) switchKey(c *call, body []byte, disabled bool) (map[string]any, *failure) {
	changed, f := s.named(c, body)
	if f != nil {
		return nil, f
	}
	if !changed.deletion.IsZero() {
		return nil, c.usable(changed.usage)
	}
	changed.disabled = disabled
	return nil, s.keep(changed)
}

func (s *Server) scheduleKeyDeletion(c *call, body []byte) (map[string]any, *failure) {
	var in struct{ PendingWindowInDays *int }
	if f := read(body, &in); f != nil {
		return nil, f
	}
	changed, f := s.named(c, body)
	if f != nil {
		return nil, f
	}
	days := maxWait
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	if days < minWait || days > maxWait {
		return nil, invalid("PendingWindowInDays must be between %d and %d", minWait, maxWait)
	}
	if !changed.deletion.IsZero() {
		return nil, c.usable(changed.usage)
	}
	changed.deletion = c.at.UTC().Truncate(time.Second).AddDate(0, 0, days)
	if f := s.keep(changed); f != nil {
		return nil, f
	}
	return map[string]any{"KeyId": changed.arn, "DeletionDate": changed.deletion.Unix(), "KeyState": "PendingDeletion", "PendingWindowInDays": days}, nil
}

// cancelKeyDeletion leaves the key disabled, as KMS does.
func (s *Server) cancelKeyDeletion(c *call, body []byte) (map[string]any, *failure) {
	changed, f := s.named(c, body)
	if f != nil {
		return nil, f
	}
	if changed.deletion.IsZero() {
		return nil, refuse("KMSInvalidStateException", "%s is not pending deletion.", changed.arn)
	}
	changed.deletion, changed.disabled = time.Time{}, true
	if f := s.keep(changed); f != nil {
		return nil, f
	}
	return map[string]any{"KeyId": changed.arn}, nil
}

func (s *Server) enableKeyRotation(c *call, body []byte) (map[string]any, *failure) {
	return s.setRotation(c, body, true)
}

func (s *Server) disableKeyRotation(c *call, body []byte) (map[string]any, *failure) {
	return s.setRotation(c, body, false)
}

// setRotation notes whether the key rotates; no year passes in a simulation.
func (s *Server) setRotation(c *call, body []byte, on bool) (map[string]any, *failure) {
	changed, f := s.rotatable(c, body)
	if f != nil {
		return nil, f
	}
	changed.rotating = on
	return nil, s.keep(changed)
}

func (s *Server) getKeyRotationStatus(c *call, body []byte) (map[string]any, *failure) {
	k, f := s.named(c, body)
	if f != nil {
		return nil, f
	}
	out := map[string]any{"KeyId": k.arn, "KeyRotationEnabled": k.rotating}
	if k.rotating {
		out["RotationPeriodInDays"] = 365
	}
	return out, nil
}

// rotateKeyOnDemand gives the key new material; the old one still decrypts.
func (s *Server) rotateKeyOnDemand(c *call, body []byte) (map[string]any, *failure) {
	changed, f := s.rotatable(c, body)
	if f != nil {
		return nil, f
	}
	if len(changed.material) >= maxMaterials {
		return nil, refuse("LimitExceededException", "The key was rotated on demand as often as is allowed.")
	}
	fresh, err := newMaterial(symmetric)
	if err != nil {
		return nil, internal()
	}
	changed.material = append(slices.Clone(changed.material), []secret.Bytes{fresh}...)
	if f := s.keep(changed); f != nil {
		return nil, f
	}
	return map[string]any{"KeyId": changed.arn}, nil
}

// rotatable reads a request about rotation of a symmetric key that can be used.
func (s *Server) rotatable(c *call, body []byte) (key, *failure) {
	k, f := s.named(c, body)
	if f == nil && k.spec != symmetric {
		f = refuse("UnsupportedOperationException", "%s is not a symmetric encryption key.", k.arn)
	}
	if f == nil {
		f = c.usable(encryptDecrypt)
	}
	return k, f
}

// listKeys lists the account's keys to everybody in the account.
func (s *Server) listKeys(c *call, body []byte) (map[string]any, *failure) {
	s.keys.mu.RLock()
	defer s.keys.mu.RUnlock()
	page, more, f := s.page(c, body, slices.Sorted(maps.Keys(s.keys.byID)))
	if f != nil {
		return nil, f
	}
	list := []map[string]any{}
	for _, id := range page {
		list = append(list, map[string]any{"KeyId": id, "KeyArn": s.keys.arn(id)})
	}
	return more(map[string]any{"Keys": list}), nil
}

// page cuts a sorted list as Limit and Marker say; more adds where to go on.
func (s *Server) page(c *call, body []byte, all []string) ([]string, func(map[string]any) map[string]any, *failure) {
	var in struct {
		Limit  *int
		Marker string
	}
	if f := read(body, &in); f != nil {
		return nil, nil, f
	}
	if accountOf(c.principal.ARN) != s.config.Account {
		return nil, nil, refuse(accessDenied, "User: %s is not authorized to perform: kms:%s because no identity-based policy allows the kms:%s action", c.principal.ARN, c.operation, c.operation)
	}
	limit := 100
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > maxList {
		return nil, nil, invalid("Limit must be between 1 and %d", maxList)
	}
	at, found := slices.BinarySearch(all, in.Marker)
	if found {
		at++
	}
	end := min(len(all), at+limit)
	return all[at:end], func(out map[string]any) map[string]any {
		out["Truncated"] = end < len(all)
		if end < len(all) {
			out["NextMarker"] = all[end-1]
		}
		return out
	}, nil
}

// createGrant answers a dry run; the simulator keeps no grants.
func (s *Server) createGrant(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		Operations       []string
		GranteePrincipal string
		DryRun           bool
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	c.extra = map[string][]string{"kms:GrantOperations": in.Operations, "kms:GranteePrincipal": {in.GranteePrincipal}}
	if _, f := s.named(c, body); f != nil {
		return nil, f
	}
	if in.DryRun {
		return nil, dryRun()
	}
	return nil, refuse("UnsupportedOperationException", "The simulator keeps no grants")
}
