package deployment

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cloisterhq/cloister/internal/bundle"
)

// Facts are what cloister.yaml leaves out: what a simulation makes up, or what
// an operator's infrastructure knows. Where both name something, cloister.yaml
// wins.
type Facts struct {
	// KMS says where keys are. Endpoint and CA are for simulation only.
	KMS bundle.KMS
	// Keys are the ARNs of the datasets' KEKs, by the dataset's name. Those of
	// datasets that the deployment doesn't have are passed over.
	Keys map[string]string
	// Producers may submit, unless cloister.yaml names producers.
	Producers []bundle.Producer
	// Issuers vouch for analysts, unless cloister.yaml names issuers.
	Issuers []bundle.Issuer
	// Egress lists host:port that the enclave may reach beside KMS and issuers.
	Egress []string
	// Freshness is bundle.FreshnessNone or bundle.FreshnessWitnesses; empty is
	// none in simulation and witnesses in production.
	Freshness string
}

// Bundle answers the bundle of the deployment, checked. The same files and
// facts give the same bundle. When something is named in neither, the error
// lists all that is missing.
func (c *Config) Bundle(f Facts) (*bundle.Bundle, error) {
	b := &bundle.Bundle{
		Version: bundle.Version, Deployment: c.Deployment, Profile: c.Profile, KMS: f.KMS,
		Producers: f.Producers, Issuers: f.Issuers, Freshness: f.Freshness, Limits: c.Limits,
	}
	if c.KMS.Region != "" {
		b.KMS.Region = c.KMS.Region
	}
	if c.KMS.StateKey != "" {
		b.KMS.StateKeyARN = c.KMS.StateKey
	}
	if c.Producers != nil {
		b.Producers = c.Producers
	}
	if c.Issuers != nil {
		b.Issuers = c.Issuers
	}
	if b.Freshness == "" && c.Profile == bundle.Simulation {
		b.Freshness = bundle.FreshnessNone
	} else if b.Freshness == "" {
		b.Freshness = bundle.FreshnessWitnesses
	}
	for _, d := range c.Datasets {
		arn := c.KMS.Keys[d.Contract.Dataset]
		if arn == "" {
			arn = f.Keys[d.Contract.Dataset]
		}
		b.Datasets = append(b.Datasets, bundle.Dataset{Contract: *d.Contract, KeyARN: arn, KeyEpoch: d.KeyEpoch})
	}
	if err := c.complete(b); err != nil {
		return nil, err
	}
	b.Egress = egress(b, f.Egress)
	if err := b.Check(); err != nil {
		return nil, fmt.Errorf("deployment %s: %w", c.Deployment, err)
	}
	return b, nil
}

// complete holds that cloister.yaml and the facts leave nothing out.
func (c *Config) complete(b *bundle.Bundle) error {
	var missing []string
	need := func(there bool, what string) {
		if !there {
			missing = append(missing, what)
		}
	}
	need(b.KMS.Region != "", "kms.region")
	need(b.KMS.StateKeyARN != "", "kms.state_key")
	for _, d := range b.Datasets {
		need(d.KeyARN != "", "kms.keys."+d.Contract.Dataset)
	}
	need(c.Producers != nil || len(b.Producers) > 0, "producers")
	need(c.Issuers != nil || len(b.Issuers) > 0, "identity.issuers")
	if len(missing) == 0 {
		return nil
	}
	hint := "name them in cloister.yaml or in the facts"
	if c.Profile == bundle.Simulation {
		hint += "; `cloister-sim up` fills them in by itself"
	}
	return fmt.Errorf("deployment %s, profile %s: missing are %s; %s", c.Deployment, c.Profile, strings.Join(missing, ", "), hint)
}

// egress answers every host:port that the enclave must reach, each once: what
// the facts list, KMS, the issuers.
func egress(b *bundle.Bundle, listed []string) []string {
	out := slices.Clone(listed)
	add := func(hostport string) {
		if !slices.Contains(out, hostport) {
			out = append(out, hostport)
		}
	}
	add(kmsHost(&b.KMS))
	for _, s := range b.Issuers {
		if u, err := url.Parse(s.URL); err == nil {
			add(bundle.HostPort(u))
		}
	}
	return out
}

// kmsHost is the host:port of the KMS endpoint: the bundle's own, or AWS's
// regional one.
func kmsHost(k *bundle.KMS) string {
	if k.Endpoint != "" {
		if u, err := url.Parse(k.Endpoint); err == nil {
			return bundle.HostPort(u)
		}
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(k.Region, "cn-") {
		domain = "amazonaws.com.cn"
	}
	return "kms." + k.Region + "." + domain + ":443"
}
