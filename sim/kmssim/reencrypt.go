package kmssim

// reEncryptRequest is what ReEncrypt takes.
type reEncryptRequest struct {
	CiphertextBlob                                            []byte
	SourceKeyID                                               string `json:"SourceKeyId"`
	DestinationKeyID                                          string `json:"DestinationKeyId"`
	SourceEncryptionContext, DestinationEncryptionContext     map[string]string
	SourceEncryptionAlgorithm, DestinationEncryptionAlgorithm string
	GrantTokens, DryRunModifiers                              []string
	DryRun                                                    bool
}

// reEncrypt ignores Recipient, as KMS does: there is no attested form. The two
// keys' policies are asked for kms:ReEncryptFrom and kms:ReEncryptTo.
func (s *Server) reEncrypt(c *call, body []byte) (map[string]any, *failure) {
	var in reEncryptRequest
	f := read(body, &in)
	if f == nil {
		f = c.begin(use{KeyID: in.DestinationKeyID, EncryptionContext: in.DestinationEncryptionContext, EncryptionAlgorithm: in.DestinationEncryptionAlgorithm, GrantTokens: in.GrantTokens})
	}
	if f == nil {
		f = c.begin(use{KeyID: in.SourceKeyID, EncryptionContext: in.SourceEncryptionContext, EncryptionAlgorithm: in.SourceEncryptionAlgorithm})
	}
	if f == nil {
		f = s.pair(c, in)
	}
	if f != nil {
		return nil, f
	}
	out := map[string]any{"SourceEncryptionAlgorithm": symmetric, "DestinationEncryptionAlgorithm": symmetric}
	var plain []byte
	if (use{DryRun: in.DryRun, DryRunModifiers: in.DryRunModifiers}).blind() {
		f = s.authoriseAs(c, in.SourceKeyID, "ReEncryptFrom")
		if f == nil {
			f = c.usable(encryptDecrypt)
		}
	} else {
		opened, material, failed := s.open(c, in.SourceKeyID, "ReEncryptFrom", in.CiphertextBlob)
		defer opened.Wipe()
		if f = failed; f == nil {
			plain = opened.Expose()
			out["SourceKeyId"], out["SourceKeyMaterialId"] = c.key.arn, c.key.materialID(material)
		}
	}
	if f != nil {
		return nil, f
	}
	return s.reWrap(c, in, out, plain)
}

// pair notes whether source and destination are one key.
func (s *Server) pair(c *call, in reEncryptRequest) *failure {
	to, f := s.keys.find(in.DestinationKeyID, c.at)
	if f != nil {
		return f
	}
	from, _ := blobKey(in.CiphertextBlob)
	if in.SourceKeyID != "" {
		found, f := s.keys.find(in.SourceKeyID, c.at)
		if f != nil {
			return f
		}
		from = found.id
	}
	same := "false"
	if from == to.id {
		same = "true"
	}
	c.extra = map[string][]string{"kms:ReEncryptOnSameKey": {same}, "kms:EncryptionAlgorithm": {symmetric}}
	return nil
}

// reWrap is the second half: what was opened goes under the destination.
func (s *Server) reWrap(c *call, in reEncryptRequest, out map[string]any, plain []byte) (map[string]any, *failure) {
	c.context = in.DestinationEncryptionContext
	f := s.authoriseAs(c, in.DestinationKeyID, "ReEncryptTo")
	if f == nil {
		f = c.usable(encryptDecrypt)
	}
	if f == nil && in.DryRun {
		f = dryRun()
	}
	if f != nil {
		return nil, f
	}
	blob, err := wrap(c.key, c.context, plain)
	if err != nil {
		return nil, internal()
	}
	out["CiphertextBlob"], out["KeyId"], out["DestinationKeyMaterialId"] = blob, c.key.arn, c.key.materialID(len(c.key.material)-1)
	return out, nil
}
