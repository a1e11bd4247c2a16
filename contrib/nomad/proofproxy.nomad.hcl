# One proofproxy per client node, as a system job with the exec driver; jobs on the node reach it at 127.0.0.1:8780
# (host network). The token comes from Vault by Nomad's own template; change_mode "noop", as proofproxy watches the
# file.
job "proofproxy" {
  type = "system"

  group "proofproxy" {
    task "proofproxy" {
      driver       = "exec"
      user         = "proofproxy"
      kill_timeout = "30s" # longer than drain_timeout

      config {
        command = "/usr/sbin/proofproxy"
        args    = ["-c", "${NOMAD_TASK_DIR}/proofproxy.conf", "run"]
      }

      vault {
        policies = ["proof-production"]
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/production.token"
        perms       = "0640"
        change_mode = "noop"
        data        = <<-TOKENS
          {{ with secret "secret/data/proof/production" }}{{ .Data.data.current }}
          {{ with .Data.data.previous }}{{ . }}{{ end }}{{ end }}
        TOKENS
      }

      template {
        destination   = "local/proofproxy.conf"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-CONFIG
          admin = { listen = [ "unix:{{ env "NOMAD_TASK_DIR" }}/admin.sock" ]; };
          environments = {
            production = {
              base_url   = "https://api.example";
              listen     = [ "127.0.0.1:8780" ];
              token_file = "{{ env "NOMAD_SECRETS_DIR" }}/production.token";
            };
          };
        CONFIG
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
