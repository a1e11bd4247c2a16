# Vault Agent writes the token file proofproxy reads. Nothing has to be told to proofproxy: it watches the file. Keep
# both tokens of a rotation in one KV entry, `current` and, until Proof has ended it, `previous`:
#     vault kv put secret/proof/production current=NEW previous=OLD
# and drop `previous` when `proofproxy status` says that it is safe to retire.
auto_auth {
  method "approle" {
    config = {
      role_id_file_path   = "/etc/vault-agent/role-id"
      secret_id_file_path = "/etc/vault-agent/secret-id"
    }
  }
}

template {
  source               = "/etc/vault-agent/production.token.ctmpl"
  destination          = "/etc/proofproxy/production.token"
  user                 = "root"
  group                = "proofproxy"
  perms                = "0640"
  error_on_missing_key = true
}
