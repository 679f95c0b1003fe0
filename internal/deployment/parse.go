package deployment

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/contract/odcs"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

// keyPrefix stands before the base64 of a producer's public key.
const keyPrefix = "ed25519:"

// opener reads a file that cloister.yaml names, and answers its path for
// people, also beside an error.
type opener func(name string, limit int64) (b []byte, path string, err error)

// reader fills a Config.
type reader struct {
	open   opener
	config *Config
	// nested are the problems of files that cloister.yaml names.
	nested []error
	// partial says that a contract couldn't be read, so that a dataset that
	// isn't known may be right.
	partial bool
}

// parse reads the bytes of cloister.yaml; file is its name in errors.
func parse(b []byte, file string, open opener) (*Config, error) {
	tree, err := yamltree.Parse(b, file, MaxFile)
	if err != nil {
		return nil, err
	}
	r := &reader{open: open, config: &Config{Limits: bundle.DefaultLimits()}}
	r.document(tree.Root())
	if err := join(tree.Err(), r.nested); err != nil {
		return nil, err
	}
	return r.config, nil
}

func (r *reader) document(n yamltree.Node) {
	o, ok := n.Object("version", "deployment", "profile", "datasets", "producers", "identity", "kms", "limits")
	if !ok {
		return
	}
	if n, ok := o.Need("version", "version: 1"); ok {
		n.Whole(Version, Version)
	}
	if n, ok := o.Need("deployment", "deployment: the deployment's id"); ok {
		r.config.Deployment = id(n)
	}
	if n, ok := o.Need("profile", "profile: production, or profile: simulation"); ok {
		r.config.Profile, _ = n.Word(bundle.Production, bundle.Simulation)
	}
	if n, ok := o.Need("datasets", "datasets: and one entry with the path of each contract"); ok {
		r.datasets(n)
	}
	if n, ok := o.Get("producers"); ok {
		r.producers(n)
	}
	if n, ok := o.Get("identity"); ok {
		r.identity(n)
	}
	if n, ok := o.Get("kms"); ok {
		r.kms(n)
	}
	if n, ok := o.Get("limits"); ok {
		r.limits(n)
	}
}

// id answers an identifier.
func id(n yamltree.Node) string {
	s, ok := n.Text()
	if ok && !contract.IsID(s) {
		n.Fail("%s isn't an id; write 1 to 63 of a-z, 0-9 and -", yamltree.Quote(s))
	}
	return s
}

func (r *reader) datasets(n yamltree.Node) {
	entries, ok := n.List(bundle.MaxDatasets)
	if ok && len(entries) == 0 {
		n.Fail("a deployment has at least one dataset; write the path of its contract")
	}
	for _, e := range entries {
		o, ok := e.Object("contract", "key_epoch")
		if !ok {
			continue
		}
		d := Dataset{KeyEpoch: 1}
		if n, ok := o.Get("key_epoch"); ok {
			epoch, _ := n.Whole(1, 1<<31)
			d.KeyEpoch = uint64(epoch)
		}
		n, ok := o.Need("contract", "contract: the path of a contract file")
		if !ok {
			continue
		}
		if d.Contract = r.contract(n); d.Contract == nil {
			r.partial = true
			continue
		}
		r.config.Datasets = append(r.config.Datasets, d)
	}
}

// contract reads the contract file at a path, nil when it can't.
func (r *reader) contract(n yamltree.Node) *contract.Contract {
	name, ok := n.Text()
	if !ok {
		return nil
	}
	b, path, err := r.open(name, odcs.MaxFile)
	if err != nil {
		n.Fail("contract %s: %s", yamltree.Quote(name), err)
		return nil
	}
	c, err := odcs.Read(b, path)
	switch {
	case err != nil:
		r.nested = append(r.nested, err)
		return nil
	case slices.Contains(r.config.DatasetNames(), c.Dataset):
		n.Fail("a second contract of dataset %s; name each dataset once", c.Dataset)
		return nil
	case r.config.Profile == bundle.Production && c.Mode == contract.Threshold:
		n.Fail("dataset %s has mode threshold, which is for simulation only; use mode dp", c.Dataset)
	}
	return c
}

func (r *reader) producers(n yamltree.Node) {
	entries, _ := n.List(bundle.MaxProducers)
	r.config.Producers = []bundle.Producer{}
	for _, e := range entries {
		o, ok := e.Object("name", "key", "datasets", "retired")
		if !ok {
			continue
		}
		var p bundle.Producer
		if n, ok := o.Need("name", "name: the producer's id"); ok {
			p.Name = id(n)
			r.once(n, func(other bundle.Producer) bool { return other.Name == p.Name }, "producer stands twice")
		}
		if n, ok := o.Need("key", "key: "+keyPrefix+"BASE64, as `cloister keygen` prints it"); ok {
			p.Key = publicKey(n)
			r.once(n, func(other bundle.Producer) bool { return p.Key != nil && string(other.Key) == string(p.Key) }, "key of another producer")
		}
		if n, ok := o.Need("datasets", "datasets: and the names of those it may submit to"); ok {
			p.Datasets = r.names(n)
		}
		if n, ok := o.Get("retired"); ok {
			p.Retired, _ = n.Bool()
		}
		r.config.Producers = append(r.config.Producers, p)
	}
}

// once keeps a problem when a producer before matches.
func (r *reader) once(n yamltree.Node, matches func(bundle.Producer) bool, problem string) {
	if slices.ContainsFunc(r.config.Producers, matches) {
		n.Fail("%s; each has a name and a key of its own", problem)
	}
}

// names answers names of the deployment's datasets, each once.
func (r *reader) names(n yamltree.Node) []string {
	entries, ok := n.List(bundle.MaxDatasets)
	if ok && len(entries) == 0 {
		n.Fail("names no dataset; name at least one, or leave the producer out")
	}
	var out []string
	for _, e := range entries {
		name, ok := e.Text()
		switch known := r.config.DatasetNames(); {
		case !ok:
		case slices.Contains(out, name):
			e.Fail("dataset %s stands twice; remove one", yamltree.Quote(name))
		case !r.partial && !slices.Contains(known, name):
			e.Fail("%s", yamltree.Unknown("dataset", name, known))
		default:
			out = append(out, name)
		}
	}
	return out
}

// publicKey answers an Ed25519 public key, nil when it is none.
func publicKey(n yamltree.Node) []byte {
	s, ok := n.Text()
	if !ok {
		return nil
	}
	key, err := decodeKey(s)
	if err != nil {
		n.Fail("%s", err)
	}
	return key
}

// decodeKey reads a producer's public key as `cloister keygen` prints it.
func decodeKey(s string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(s, keyPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("isn't a public key; write %s and the base64 of %d bytes, as `cloister keygen` prints it", keyPrefix, ed25519.PublicKeySize)
	}
	return key, nil
}
