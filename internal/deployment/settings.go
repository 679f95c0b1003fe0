package deployment

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

// join puts the problems of named files behind those of cloister.yaml.
func join(first error, nested []error) error {
	return errors.Join(append([]error{first}, nested...)...)
}

func (r *reader) identity(n yamltree.Node) {
	o, ok := n.Object("issuers")
	if !ok {
		return
	}
	n, ok = o.Get("issuers")
	if !ok {
		return
	}
	entries, _ := n.List(bundle.MaxIssuers)
	r.config.Issuers = []bundle.Issuer{}
	for _, e := range entries {
		if o, ok := e.Object("issuer", "audience", "roles_claim", "tls_roots", "require_mfa"); ok {
			r.issuer(o)
		}
	}
}

func (r *reader) issuer(o yamltree.Object) {
	// Without a word on it a second factor is required.
	s := bundle.Issuer{RequireMFA: true}
	complete := true
	text := func(key, hint string) string {
		n, ok := o.Need(key, hint)
		if !ok {
			complete = false
			return ""
		}
		value, ok := n.Text()
		complete = complete && ok
		return value
	}
	s.URL = text("issuer", "issuer: the https URL that tokens name")
	s.Audience = text("audience", "audience: what tokens must be made for")
	s.RolesClaim = text("roles_claim", "roles_claim: the claim that lists roles, such as groups")
	path := text("tls_roots", "tls_roots: the path of a PEM file with the issuer's root certificates")
	if n, ok := o.Get("require_mfa"); ok {
		s.RequireMFA, ok = n.Bool()
		complete = complete && ok
	}
	if !complete {
		return
	}
	var err error
	if s.TLSRoots, _, err = r.open(path, MaxFile); err != nil {
		o.At().Fail("tls_roots %s: %s", yamltree.Quote(path), err)
		return
	}
	if err := s.Check(); err != nil {
		o.At().Fail("issuer: %s", err)
		return
	}
	for _, other := range r.config.Issuers {
		if other.URL == s.URL {
			o.At().Fail("issuer %s stands twice; remove one", yamltree.Quote(s.URL))
		}
	}
	r.config.Issuers = append(r.config.Issuers, s)
}

func (r *reader) kms(n yamltree.Node) {
	o, ok := n.Object("region", "state_key", "keys")
	if !ok {
		return
	}
	k := &r.config.KMS
	if n, ok := o.Get("region"); ok {
		if k.Region, ok = n.Text(); ok && !bundle.IsRegion(k.Region) {
			n.Fail("%s isn't an AWS region; write one such as eu-central-1", yamltree.Quote(k.Region))
		}
	}
	if n, ok := o.Get("state_key"); ok {
		k.StateKey = r.key(n)
	}
	n, ok = o.Get("keys")
	if !ok {
		return
	}
	entries, _ := n.Entries(bundle.MaxDatasets)
	k.Keys = map[string]string{}
	for _, e := range entries {
		known := r.config.DatasetNames()
		if !r.partial && !slices.Contains(known, e.Key) {
			e.At.Fail("%s", yamltree.Unknown("dataset", e.Key, known))
		}
		k.Keys[e.Key] = r.key(e.Value)
		if k.Keys[e.Key] != "" && k.Keys[e.Key] == k.StateKey {
			e.Value.Fail("is the state key; the state needs a key of its own")
		}
	}
}

// key answers the ARN of a KMS key.
func (r *reader) key(n yamltree.Node) string {
	arn, ok := n.Text()
	if !ok {
		return ""
	}
	region, err := bundle.KeyRegion(arn)
	switch {
	case err != nil:
		n.Fail("%s; write arn:aws:kms:REGION:ACCOUNT:key/ID", err)
	case r.config.KMS.Region != "" && region != r.config.KMS.Region:
		n.Fail("the key is in another region than kms.region")
	}
	return arn
}

func (r *reader) limits(n yamltree.Node) {
	o, ok := n.Object("max_envelope", "max_result_rows", "query_timeout", "query_memory")
	if !ok {
		return
	}
	l := r.config.Limits
	read := func(key string, value func(yamltree.Node) (int64, bool), into *int64) {
		n, ok := o.Get(key)
		if !ok {
			return
		}
		v, ok := value(n)
		if !ok {
			return
		}
		// One limit at a time, so that the problem stands where it is.
		before := *into
		*into = v
		if err := l.Check(); err != nil {
			n.Fail("%s", err)
			*into = before
		}
	}
	read("max_envelope", size, &l.MaxEnvelope)
	read("max_result_rows", func(n yamltree.Node) (int64, bool) { return n.Whole(1, bundle.MaxResultRows) }, &l.MaxResultRows)
	read("query_timeout", duration, &l.QueryTimeout)
	read("query_memory", size, &l.QueryMemory)
	r.config.Limits = l
}

// units are what a size may be counted in.
var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}}

// size answers a number of bytes.
func size(n yamltree.Node) (int64, bool) {
	s, _ := n.Peek()
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || v < 0 || v > math.MaxInt64/u.bytes || strconv.FormatInt(v, 10) != digits {
			break
		}
		return v * u.bytes, true
	}
	n.Fail("isn't a size; write a whole number and a unit, such as 16MiB (B, KiB, MiB, GiB, TiB)")
	return 0, false
}

// duration answers a number of milliseconds.
func duration(n yamltree.Node) (int64, bool) {
	s, _ := n.Peek()
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d%time.Millisecond != 0 || s == "0" {
		n.Fail("isn't a time; write a number and a unit, such as 30s (ms, s, m)")
		return 0, false
	}
	return d.Milliseconds(), true
}
