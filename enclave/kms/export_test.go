package kms

// Opened holds an answer against the key that was asked for, as every call
// does, so that tests can see what becomes of the bytes in it.
func Opened(c *Client, arn, keyID string, plaintext, message []byte) error {
	_, err := c.open(arn, reply{keyID: keyID, plaintext: plaintext, message: message})
	return err
}
