package kmssim

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// aliasForm is an alias's name (KMS API reference, CreateAlias); alias/aws/ is
// AWS's own.
var aliasForm = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]{1,250}$`)

// aliasesOf answers the aliases of a key, in order; nil when it has none.
func (k *keys) aliasesOf(id string) []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(k.aliases)) {
		if k.aliases[name] == id {
			all = append(all, name)
		}
	}
	return all
}

func (k *keys) alias(name string) (id string, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	id, ok = k.aliases[name]
	return id, ok
}

type aliasRequest struct{ AliasName, TargetKeyID string }

// readAlias reads a request about an alias.
func readAlias(body []byte) (aliasRequest, *failure) {
	var in struct {
		AliasName   string
		TargetKeyID string `json:"TargetKeyId"`
	}
	if f := read(body, &in); f != nil {
		return aliasRequest{}, f
	}
	if !aliasForm.MatchString(in.AliasName) || strings.HasPrefix(in.AliasName, "alias/aws/") {
		return aliasRequest{}, refuse("InvalidAliasNameException", "Alias must start with the prefix \"alias/\" and must not start with \"alias/aws/\"")
	}
	return aliasRequest(in), nil
}

// target authorises the key that an alias is to name: an id or an ARN.
func (s *Server) target(c *call, in aliasRequest) *failure {
	if in.TargetKeyID == "" || strings.Contains(in.TargetKeyID, "alias/") {
		return invalid("TargetKeyId must be a key's id or ARN")
	}
	return s.authorise(c, in.TargetKeyID)
}

func (s *Server) createAlias(c *call, body []byte) (map[string]any, *failure) {
	in, f := readAlias(body)
	if f == nil {
		f = s.target(c, in)
	}
	if f != nil {
		return nil, f
	}
	if _, there := s.keys.alias(in.AliasName); there {
		return nil, refuse("AlreadyExistsException", "An alias with the name %s already exists", s.aliasARN(in.AliasName))
	}
	return nil, s.setAlias(in.AliasName, c.key.id)
}

// updateAlias asks the policies of both keys.
func (s *Server) updateAlias(c *call, body []byte) (map[string]any, *failure) {
	in, f := readAlias(body)
	if f != nil {
		return nil, f
	}
	if _, there := s.keys.alias(in.AliasName); !there {
		return nil, s.noAlias(in.AliasName)
	}
	if f := s.authorise(c, in.AliasName); f != nil {
		return nil, f
	}
	before := c.key
	if f := s.target(c, in); f != nil {
		return nil, f
	}
	if before.spec != c.key.spec || before.usage != c.key.usage {
		return nil, invalid("The current and the new key of an alias must be of one type and usage")
	}
	return nil, s.setAlias(in.AliasName, c.key.id)
}

func (s *Server) deleteAlias(c *call, body []byte) (map[string]any, *failure) {
	in, f := readAlias(body)
	if f != nil {
		return nil, f
	}
	if _, there := s.keys.alias(in.AliasName); !there {
		return nil, s.noAlias(in.AliasName)
	}
	if f := s.authorise(c, in.AliasName); f != nil {
		return nil, f
	}
	if s.keys.change(func(_ map[string]key, aliases map[string]string) { delete(aliases, in.AliasName) }) != nil {
		return nil, internal()
	}
	return nil, nil
}

func (s *Server) listAliases(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		KeyID string `json:"KeyId"`
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	if in.KeyID != "" {
		found, f := s.keys.find(in.KeyID, c.at)
		if f != nil {
			return nil, f
		}
		in.KeyID = found.id
	}
	s.keys.mu.RLock()
	aliases := maps.Clone(s.keys.aliases)
	s.keys.mu.RUnlock()
	maps.DeleteFunc(aliases, func(_, id string) bool { return in.KeyID != "" && id != in.KeyID })
	page, more, f := s.page(c, body, slices.Sorted(maps.Keys(aliases)))
	if f != nil {
		return nil, f
	}
	list := []map[string]any{}
	for _, name := range page {
		list = append(list, map[string]any{"AliasName": name, "AliasArn": s.aliasARN(name), "TargetKeyId": aliases[name]})
	}
	return more(map[string]any{"Aliases": list}), nil
}

func (s *Server) aliasARN(name string) string {
	return strings.TrimSuffix(s.keys.arn(""), "key/") + name
}

func (s *Server) noAlias(name string) *failure {
	return refuse("NotFoundException", "Alias %s is not found.", s.aliasARN(name))
}

func (s *Server) setAlias(name, id string) *failure {
	if s.keys.change(func(_ map[string]key, aliases map[string]string) { aliases[name] = id }) != nil {
		return internal()
	}
	return nil
}
